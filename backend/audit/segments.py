"""Sealed entries in a file: gzip, a JSON object a line, verifiable where no database is.

The first line says what the file is and where in the chain it begins. Then come, seal by seal, the
lines of the entries, byte for byte what was hashed, and the seal's statement below them.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend import strictjson
from backend.audit import chain
from backend.audit.model import AuditSeal
from backend.audit.sealing import AT_ONCE
from backend.audit.statements import Number, SealStatement, Sha256
from backend.audit.walking import Walk
from backend.problems import Malformed, NotFound

SEALS_AT_ONCE: Final = 200
LONGEST_LINE: Final = 4 * 1024 * 1024  # bytes; the body of a request ends at a quarter of it


_ENTRY: Final = b'{"id":'
_LINES = text(f"""
SELECT seal.id AS seal, {chain.COLUMNS}
FROM audit_seals AS seal, unnest(seal.entries) WITH ORDINALITY AS sealed(entry_id, place)
JOIN audit_log AS entry ON entry.id = sealed.entry_id
WHERE seal.id BETWEEN :first AND :last
ORDER BY seal.id, sealed.place
""")  # noqa: S608 - a constant of this package
"""What is missing here, the seal's count tells."""


class Beginning(BaseModel):
    """The first line of a file: the chain's end before the first seal in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["lockkeeper-audit"] = "lockkeeper-audit"
    version: Literal[1] = 1
    seal: Number
    total: Number
    head: Sha256


_Line: TypeAdapter[Beginning | SealStatement] = TypeAdapter(
    Annotated[Beginning | SealStatement, Field(discriminator="kind")]
)


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds: seals ``first`` to ``last`` with so many entries."""

    first: int
    last: int
    entries: int
    head: bytes
    total: int


def sealed(
    session: Session, *, after: int = 0, through: int | None = None
) -> Iterator[tuple[AuditSeal, Iterator[bytes]]]:
    """Seals in their order, each with the lines of its entries that are there."""
    seals = select(AuditSeal).order_by(AuditSeal.id).limit(SEALS_AT_ONCE)
    if through is not None:
        seals = seals.where(AuditSeal.id <= through)
    while page := session.scalars(seals.where(AuditSeal.id > after)).all():
        for part in _parts(page):
            yield from _with_lines(session, part)
        after = page[-1].id
        session.expunge_all()


def _parts(page: Sequence[AuditSeal]) -> Iterator[list[AuditSeal]]:
    """Of as many entries as fit into memory with ease, or of one seal."""
    part: list[AuditSeal] = []
    entries = 0
    for seal in page:
        entries += len(seal.entries)
        if part and entries > AT_ONCE:
            yield part
            part, entries = [], len(seal.entries)
        part.append(seal)
    yield part


def _with_lines(
    session: Session, seals: Sequence[AuditSeal]
) -> Iterator[tuple[AuditSeal, Iterator[bytes]]]:
    ids = {"first": seals[0].id, "last": seals[-1].id}
    found = {
        number: map(chain.line, list(rows))
        for number, rows in groupby(session.execute(_LINES, ids), key=lambda row: row.seal)
    }
    for seal in seals:
        yield seal, found.get(seal.id, iter(()))


def write(
    session: Session, out: BinaryIO, *, first: int | None = None, last: int | None = None
) -> Written:
    """Write seals ``first`` to ``last``, all where left out, and their entries.

    Raises:
        NotFound: there are no such seals, or not all of them any more.
    """
    written: Written | None = None
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed:
        for seal, lines in sealed(session, after=(first or 1) - 1, through=last):
            if written is None:
                before = seal.total - len(seal.entries)
                _put(packed, Beginning(seal=seal.id - 1, total=before, head=seal.previous.hex()))
            for line in lines:
                packed.write(line + b"\n")
            _put(packed, SealStatement.of(seal))
            start, entries = (written.first, written.entries) if written else (seal.id, 0)
            written = Written(start, seal.id, entries + len(seal.entries), seal.head, seal.total)
    if written is None or (first, last) != (first and written.first, last and written.last):
        raise NotFound("There are no such seals: none was made yet, or they were archived.")
    return written


def _put(packed: gzip.GzipFile, said: BaseModel) -> None:
    # The kind comes first: no entry begins so.
    document = {"kind": None, **said.model_dump(mode="json")}
    packed.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")


def follow(file: Path, walk: Walk) -> None:
    """Walk through the seals of a file.

    Raises:
        Malformed: it is no such file, or is damaged.
        OSError: it cannot be read.
    """
    try:
        with gzip.open(file, "rb") as packed:
            _follow(packed, walk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise Malformed("The file is no archive of the audit log, or is damaged.") from None


def _follow(packed: gzip.GzipFile, walk: Walk) -> None:
    number = 0
    while line := packed.readline(LONGEST_LINE + 1):
        number += 1
        if not line.endswith(b"\n"):
            raise Malformed(f"Line {number} of the file is too long, or broken off.")
        if number > 1 and line.startswith(_ENTRY):
            walk.take(line[:-1])
            continue
        said = _said(line, number)
        if isinstance(said, Beginning) != (number == 1):
            raise Malformed(f"Line {number} of the file is not where it belongs.")
        if isinstance(said, Beginning):
            walk.begin_at(bytes.fromhex(said.head), said.total, said.seal)
        else:
            walk.follow(said)
    if walk.pending or not walk.seals:
        raise Malformed("The file ends before a seal: it is broken off.")


def _said(line: bytes, number: int) -> Beginning | SealStatement:
    try:
        return _Line.validate_python(strictjson.loads(line))
    except (ValidationError, Malformed):
        raise Malformed(f"Line {number} of the file is neither an entry nor a seal.") from None
