"""What parsing found, written in the transaction that makes the run complete.

The rows were written by a child that opened a stranger's bytes, so they are a stranger's, too: its
files are opened as such, and the run of each row is put there by the worker.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import psycopg2
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.queue.lease import Lease
from backend.storage.files import plain_file
from backend.workloads.splunk.clearing import clear
from backend.workloads.splunk.copying import COLUMNS, statement
from backend.workloads.splunk.steps.tables import SUFFIX

PIECE: Final = 512 * 1024
"""Bytes of one COPY, and a row at least: ten thousand short rows, stored in half a second."""
CHUNK: Final = 64 * 1024

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Parsed(BaseModel):
    """What the child says of the run."""

    archive_kind: Literal["tar", "tar.gz", "zip", "conf"]
    files_parsed: Count
    stanzas_created: Count
    parse_errors: Count


_SAVE: Final = text("""
UPDATE ingestion_runs SET archive_kind = :archive_kind, files_parsed = :files_parsed,
  stanzas_created = :stanzas_created, parse_errors = :parse_errors,
  duration_seconds = extract(epoch FROM clock_timestamp() - started_at)
WHERE id = :run_id
""")


def replace(session: Session, lease: Lease, _parsed: Parsed, *, folder: Path) -> None:
    """Put the rows that the child left in ``folder`` in the place of the run's earlier ones.

    Raises:
        ValueError: what it left is no plain file.
        DataError, IntegrityError: the database refuses the rows.
    """
    clear(session, lease.id)
    for table in COLUMNS:
        with suppress(FileNotFoundError), plain_file(folder / f"{table}{SUFFIX}") as file:
            rows = Rows(file, lease.id)
            while rows.more():
                _copy(session, statement(table), rows)


def save(session: Session, lease: Lease, parsed: Parsed) -> None:
    """The run's own figures."""
    session.execute(_SAVE, {"run_id": lease.id, **parsed.model_dump()})


def _copy(session: Session, copy: str, rows: "Rows") -> None:
    """The driver's own COPY, in the session's transaction, with SQLAlchemy's errors."""
    connection = session.connection().connection.driver_connection
    assert connection is not None
    try:
        with connection.cursor() as cursor:
            cursor.copy_expert(copy, rows)
    except psycopg2.Error as error:
        raise DBAPIError.instance(copy, {}, error, psycopg2.Error) from error


class Rows:
    """Rows of COPY text with their run before each, to be read in pieces of whole rows.

    No row is ever whole in memory here, however long.
    """

    def __init__(self, file: BinaryIO, run_id: int) -> None:
        self._file = file
        self._prefix = b"%d\t" % run_id
        self._rest = b""
        self._begins = True
        self._room = 0

    def more(self) -> bool:
        """Whether there is another piece, which ``read`` then gives."""
        self._room = PIECE
        self._rest = self._rest or self._file.read(CHUNK)
        return bool(self._rest)

    def read(self, _size: int) -> bytes:
        """Some bytes of the piece; none at its end."""
        chunk, self._rest = self._rest or self._file.read(CHUNK), b""
        if self._room <= 0:
            end = 0 if self._begins else chunk.find(b"\n") + 1 or len(chunk)
            chunk, self._rest = chunk[:end], chunk[end:]
        self._room -= len(chunk)
        return self._numbered(chunk)

    def _numbered(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        first = self._prefix if self._begins else b""
        self._begins = chunk.endswith(b"\n")
        numbered = first + chunk.replace(b"\n", b"\n" + self._prefix)
        return numbered.removesuffix(self._prefix) if self._begins else numbered
