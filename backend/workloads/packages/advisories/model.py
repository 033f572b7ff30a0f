"""The tables of imported advisories: the records, which packages they name, whom they flag."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words

NOW = text("now()")
SEVERITIES = ("critical", "high", "medium", "low", "unknown")
KINDS = ("malware", "vulnerability", "undetermined")
LIFTED = ("withdrawn", "not affected", "in the verdict", "changed")


class AdvisoryImport(Base):
    """One import, and what its look at every known artifact found."""

    __tablename__ = "advisory_imports"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    digest: Mapped[str]
    """Of the bytes that were read (SHA-256, hex)."""
    read: Mapped[int] = mapped_column(Integer)
    """Records in it, those of other ecosystems among them."""
    added: Mapped[int] = mapped_column(Integer)
    changed: Mapped[int] = mapped_column(Integer)
    records: Mapped[int] = mapped_column(Integer)
    """npm records known since, those that were withdrawn left out."""
    newest: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the youngest record known since was modified; a date in the future is none."""
    checked: Mapped[int] = mapped_column(Integer)
    """Artifacts that were looked at."""
    raised: Mapped[int] = mapped_column(Integer)
    lifted: Mapped[int] = mapped_column(Integer)
    reopened: Mapped[int] = mapped_column(Integer)
    """Packages that are judged anew because of it."""
    imported_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class StoredAdvisory(Base):
    """One advisory about npm packages, as it was last modified."""

    __tablename__ = "advisories"
    __table_args__ = (CheckConstraint(in_words("severity", SEVERITIES), name="severity"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    aliases: Mapped[list[str]] = mapped_column(ARRAY(Text))
    title: Mapped[str | None]
    severity: Mapped[str]
    withdrawn: Mapped[bool]
    modified_at: Mapped[datetime | None] = mapped_column(Timestamp, index=True)
    digest: Mapped[str]
    """Of all that is kept of the record (SHA-256, hex)."""
    imported_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class AdvisoryPackage(Base):
    """What one advisory says of one package name: the blocks with its versions and ranges."""

    __tablename__ = "advisory_packages"

    name: Mapped[str] = mapped_column(primary_key=True)
    advisory_id: Mapped[str] = mapped_column(
        ForeignKey("advisories.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    affected: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


class AdvisoryFlag(Base):
    """An advisory that concerns an artifact and that its verdict does not know of.

    ``component`` is the purl of the package itself or of a bundled one. A flag is never deleted:
    it is lifted, and says why.
    """

    __tablename__ = "advisory_flags"
    __table_args__ = (
        CheckConstraint(in_words("kind", KINDS), name="kind"),
        CheckConstraint(in_words("severity", SEVERITIES), name="severity"),
        CheckConstraint(in_words("lifted_because", LIFTED), name="lifted_because"),
        CheckConstraint("(lifted_at IS NULL) = (lifted_because IS NULL)", name="lifted"),
        Index(
            "uq_advisory_flags_standing",
            "artifact_id",
            "advisory_id",
            "component",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    artifact_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("artifacts.id"))
    advisory_id: Mapped[str] = mapped_column(ForeignKey("advisories.id"), index=True)
    component: Mapped[str]
    kind: Mapped[str]
    severity: Mapped[str]
    fixed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    since: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    lifted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    lifted_because: Mapped[str | None]
