"""Deletes what a parse found of one run, in pieces: a run may have a million stanzas."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

ROWS: Final = 5_000
"""Deleted by one statement."""

# A plan for checking a foreign key, kept from when the tables were small, may read a whole table
# for each row now that they are not.
_FORGET_PLANS: Final = text("DISCARD PLANS")
_LARGEST: Final = {
    "stanzas": text("SELECT max(stanza_no) FROM stanzas WHERE run_id = :run_id"),
    "files": text("SELECT max(file_no) FROM files WHERE run_id = :run_id"),
}
_DELETE: Final = {
    "stanzas": text(
        "DELETE FROM stanzas WHERE run_id = :run_id AND stanza_no >= :begin AND stanza_no < :end"
    ),
    "files": text(
        "DELETE FROM files WHERE run_id = :run_id AND file_no >= :begin AND file_no < :end"
    ),
}
_DELETE_NOTICES: Final = text("DELETE FROM run_notices WHERE run_id = :run_id")


def clear(session: Session, run_id: int) -> None:
    """Files, stanzas and notices; typed columns go with their stanzas."""
    session.execute(_FORGET_PLANS)
    session.execute(_DELETE_NOTICES, {"run_id": run_id})
    for table, largest in _LARGEST.items():
        last = session.scalar(largest, {"run_id": run_id})
        for begin in range(0, 0 if last is None else last + 1, ROWS):
            part = {"run_id": run_id, "begin": begin, "end": begin + ROWS}
            session.execute(_DELETE[table], part)
