"""The tables of the Splunk workload.

``ingestion_runs`` is the queue: one narrow row per uploaded configuration. What parsing found
hangs beneath it: a row in ``files`` for each member of the archive, one in ``stanzas`` for each
stanza of a conf or metadata file, and for six conf types a row of typed columns, see
:mod:`backend.workloads.splunk.projections`. All of that is written at once, by the commit that
makes the run ``complete``; a run that is parsed again shows its old rows until then.

Secrets are masked before they come here, in names and values alike.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.types import TypeEngine

from backend.db import Base
from backend.queue.claimable import Claimable, Fair, Timestamp, in_words
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE, TABLE
from backend.workloads.splunk.places import Layer, Scope, UploadType
from backend.workloads.splunk.projections import (
    INDEXES,
    INPUTS,
    OUTPUTS,
    PROPS,
    SERVERCLASSES,
    TRANSFORMS,
    Projection,
    Type,
)

SHA256: Final = "sha256 ~ '^[0-9a-f]{64}$'"
KINDS: Final = ("conf", "meta", "other", "skipped")
ARCHIVE_KINDS: Final = ("tar", "tar.gz", "zip", "conf")


class IngestionRun(Fair, Claimable, Base):
    """One upload, and what became of it.

    ``type`` may follow the file in the form: it is NULL where the upload died before it came.
    ``blob_key`` and ``data_key`` (wrapped by the house's key) lead to its bytes: both are NULL
    where these were never stored, or are pruned. ``task_id`` is new each time somebody asks for
    it to be parsed. The counts are of its last complete parse: a trigger sees to it, at the
    commit, that a run which is ``complete`` has them.
    """

    __tablename__ = TABLE
    __queues__ = (SPLUNK_QUEUE,)
    __fillfactor__ = 85

    type: Mapped[str | None]
    label: Mapped[str | None]
    notes: Mapped[str | None]
    uploaded_by: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    filename: Mapped[str]
    sha256: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    duplicate_of: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="SET NULL")
    )
    blob_key: Mapped[str | None] = mapped_column(unique=True)
    data_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    task_id: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"), unique=True)
    stored_at: Mapped[datetime | None] = mapped_column(Timestamp)
    pruned_at: Mapped[datetime | None] = mapped_column(Timestamp)
    archive_kind: Mapped[str | None]
    files_parsed: Mapped[int | None] = mapped_column(Integer)
    stanzas_created: Mapped[int | None] = mapped_column(Integer)
    parse_errors: Mapped[int | None] = mapped_column(Integer)
    duration_seconds: Mapped[float | None] = mapped_column(Double)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - SQLAlchemy calls it on the class
        *engine, storage = super().__table_args__
        return (
            *engine,
            CheckConstraint(in_words("type", UploadType), name="type"),
            CheckConstraint(in_words("archive_kind", ARCHIVE_KINDS), name="archive_kind"),
            CheckConstraint(SHA256, name="sha256"),
            CheckConstraint("size_bytes >= 0", name="size_bytes"),
            CheckConstraint("num_nonnulls(blob_key, data_key) IN (0, 2)", name="blob"),
            CheckConstraint(
                "num_nonnulls(archive_kind, files_parsed, stanzas_created, parse_errors,"
                " duration_seconds) IN (0, 5)",
                name="metrics",
            ),
            CheckConstraint("status <> 'complete' OR type IS NOT NULL", name="parsed"),
            Index(f"ix_{TABLE}_uploaded_by", "uploaded_by", "id"),
            Index(f"ix_{TABLE}_sha256", "sha256", "uploaded_by"),
            Index(
                f"ix_{TABLE}_duplicate_of",
                "duplicate_of",
                postgresql_where=text("duplicate_of IS NOT NULL"),
            ),
            Index(f"ix_{TABLE}_pending", "created_at", postgresql_where=text("status = 'pending'")),
            Index(f"ix_{TABLE}_kept", "stored_at", postgresql_where=text("blob_key IS NOT NULL")),
            storage,
        )


class RunNotice(Base):
    """Something strange about a whole archive, see ``archive.members.Archive.notices``."""

    __tablename__ = "run_notices"

    run_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    notice_no: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    code: Mapped[str]
    message: Mapped[str]


class Placed:
    """Where something stands, see :class:`backend.workloads.splunk.places.Place`."""

    layer: Mapped[str | None]
    scope: Mapped[str | None]
    app: Mapped[str | None]
    user_name: Mapped[str | None]


PLACE: Final = {
    "layer": in_words("layer", Layer),
    "scope": in_words("scope", Scope),
    "place": "num_nonnulls(layer, scope) IN (0, 2)",
}


class RunFile(Placed, Base):
    """One member of an archive, in the archive's order.

    ``conf`` and ``meta`` files were parsed; ``other`` ones were looked at, and no more;
    ``skipped`` ones were not opened: ``skip_reason`` says in one word why, the warning of that
    code in a sentence. ``path`` is as the archive has it, with what cannot be shown escaped.
    ``warnings``: ``[{"code", "message", "line"}]``.
    """

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint(in_words("kind", KINDS), name="kind"),
        CheckConstraint("(kind = 'skipped') = (skip_reason IS NOT NULL)", name="skip_reason"),
        CheckConstraint("(kind IN ('conf', 'meta')) = (conf_type IS NOT NULL)", name="conf_type"),
        CheckConstraint("kind NOT IN ('conf', 'meta') OR layer IS NOT NULL", name="placed"),
        CheckConstraint("kind = 'skipped' OR num_nonnulls(sha256, size_bytes) = 2", name="read"),
        CheckConstraint(SHA256, name="sha256"),
        CheckConstraint("size_bytes >= 0", name="size_bytes"),
        CheckConstraint("jsonb_typeof(warnings) = 'array'", name="warnings"),
        *(CheckConstraint(rule, name=name) for name, rule in PLACE.items()),
    )

    run_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    file_no: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    path: Mapped[str]
    kind: Mapped[str]
    sha256: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    encoding: Mapped[str | None]
    conf_type: Mapped[str | None]
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    skip_reason: Mapped[str | None]


class RunStanza(Placed, Base):
    """One stanza of one file; its place is its file's.

    ``order_in_file`` counts the file's names from 0. ``stanza_no`` only tells stanzas apart.

    ``raw_kv``: {key: value}, the file's last word on each key; ``lines``: {key: the line on which
    that value begins}; ``history``: of keys that come again, {key: [[line, value], …]}, what was
    said before the last word. A name may be longer than an index can hold: it is found by
    ``hashtextextended(name, 0)`` and the name.
    """

    __tablename__ = "stanzas"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "file_no"], ["files.run_id", "files.file_no"], ondelete="CASCADE"
        ),
        # Only the primary key begins with the run: of two indexes that do, a planner without
        # figures for a new run takes either, and reads the run once for each of its rows.
        UniqueConstraint("file_no", "run_id", "order_in_file"),
        CheckConstraint("line >= 1 AND order_in_file >= 0", name="order"),
        CheckConstraint("jsonb_typeof(raw_kv) = 'object'", name="raw_kv"),
        CheckConstraint("jsonb_typeof(lines) = 'object'", name="lines"),
        CheckConstraint("jsonb_typeof(history) = 'object'", name="history"),
        CheckConstraint("layer IS NOT NULL", name="placed"),
        *(CheckConstraint(rule, name=name) for name, rule in PLACE.items()),
        Index("ix_stanzas_name", "conf_type", "run_id", text("hashtextextended(name, 0)")),
    )

    run_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    stanza_no: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    file_no: Mapped[int] = mapped_column(Integer)
    order_in_file: Mapped[int] = mapped_column(Integer)
    line: Mapped[int] = mapped_column(Integer)
    conf_type: Mapped[str]
    name: Mapped[str]
    raw_kv: Mapped[dict[str, str]] = mapped_column(JSONB)
    lines: Mapped[dict[str, int]] = mapped_column(JSONB)
    history: Mapped[dict[str, list[tuple[int, str]]] | None] = mapped_column(JSONB)


TYPES: Final[dict[Type, TypeEngine[Any]]] = {
    Type.TEXT: Text(),
    Type.FLAG: Boolean(),
    Type.NUMBER: BigInteger(),
}


def _table(projection: Projection) -> Table:
    return Table(
        projection.table,
        Base.metadata,
        Column("run_id", BigInteger, primary_key=True),
        Column("stanza_no", Integer, primary_key=True, autoincrement=False),
        *(Column(name, TYPES[type_]) for name, type_ in projection.columns),
        ForeignKeyConstraint(
            ["run_id", "stanza_no"], ["stanzas.run_id", "stanzas.stanza_no"], ondelete="CASCADE"
        ),
    )


class InputsStanza(Base):
    __table__ = _table(INPUTS)


class PropsStanza(Base):
    __table__ = _table(PROPS)


class TransformsStanza(Base):
    __table__ = _table(TRANSFORMS)


class IndexesStanza(Base):
    __table__ = _table(INDEXES)


class OutputsStanza(Base):
    __table__ = _table(OUTPUTS)


class ServerclassesStanza(Base):
    __table__ = _table(SERVERCLASSES)
