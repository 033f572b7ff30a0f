"""Is the log what it was? In the database or in a file, against keys and witnesses from outside."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.audit import segments
from backend.audit.sealing import UNSEALED, newest_checkpoint
from backend.audit.statements import CheckpointStatement, SealStatement
from backend.audit.walking import Walk

# What is sealed, or archived, meanwhile is not seen in part.
ONE_MOMENT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_LEFT: Final = text(
    f"SELECT count(*) AS entries, min(at) AS oldest FROM audit_log AS entry WHERE {UNSEALED}"  # noqa: S608 - a constant
)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Entries that wait for a worker; nothing vouches for them yet."""

    entries: int
    oldest: datetime | None


def verify(session: Session, walk: Walk) -> Unsealed:
    """Walk through the whole chain in the database, from the newest checkpoint on.

    Args:
        session: whose transaction has not begun; it becomes read-only, of one moment.
        walk: a fresh one, with the keys and witnesses to compare with; its faults are the finding.
    """
    session.execute(ONE_MOMENT)
    checkpoint = newest_checkpoint(session)
    if checkpoint is not None:
        walk.begin(CheckpointStatement.of(checkpoint))
    for seal, lines in segments.sealed(session):
        for line in lines:
            walk.take(line)
        walk.follow(SealStatement.of(seal))
    walk.end(whole=True)
    left = session.execute(_LEFT).one()
    return Unsealed(left.entries, left.oldest)


def verify_file(file: Path, walk: Walk) -> None:
    """Walk through the seals of an exported file; no database is asked.

    Raises:
        Malformed: it is no such file, or is damaged.
        OSError: it cannot be read.
    """
    segments.follow(file, walk)
    walk.end(whole=False)
