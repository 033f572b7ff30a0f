"""JSON lines into a table: checked while they arrive, then stored in one transaction.

One JSON object a line (UTF-8, ended by LF or CRLF); empty lines are passed over. What was read is
kept in a file without a name until all of it is known to be right: a slow sender holds no
transaction open, and memory stays small.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Table, TextClause, text
from sqlalchemy.orm import Session

from backend import strictjson
from backend.problems import Malformed, TooLarge

MOST_LINES: Final = 1_000_000
LONGEST_LINE: Final = 1024 * 1024  # bytes
MOST_NAMED: Final = 20
"""Broken lines that are named; those behind them are not looked at."""

_IN_MEMORY: Final = 1024 * 1024  # bytes
_BATCH_LINES: Final = 5000
_BATCH_BYTES: Final = 4 * 1024 * 1024


class Imported(BaseModel):
    """What became of the lines of an import."""

    accepted: int = Field(description="Lines that were stored.")
    duplicates: int = Field(description="Lines that were there before, or twice in the import.")


class Staged:
    """Lines of one kind that are all right, until they are stored; a context that forgets them."""

    def __init__(self, line: type[BaseModel]) -> None:
        """``line`` is the model of each; its fields, computed ones too, are columns."""
        self.columns = (*line.model_fields, *line.model_computed_fields)
        self.lines = 0
        self._line = line
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def add(self, line: bytes) -> None:
        """Raises Malformed or ValidationError: it is no such line."""
        read = self._line.model_validate(strictjson.loads(line))
        self._file.write(read.model_dump_json(by_alias=False).encode() + b"\n")
        self.lines += 1

    def batches(self) -> Iterator[str]:
        """All lines as JSON arrays of some thousands."""
        self._file.seek(0)
        batch: list[bytes] = []
        size = 0
        for line in self._file:
            batch.append(line)
            size += len(line)
            if len(batch) == _BATCH_LINES or size > _BATCH_BYTES:
                yield _array(batch)
                batch, size = [], 0
        if batch:
            yield _array(batch)


def receive(pieces: Iterable[bytes], staged: Staged) -> None:
    """Read and check all lines of a body; asks no database.

    Raises:
        Malformed: code ``invalid-lines``; ``errors`` names up to 20 broken lines by their number
            (from 1), the field and what is wrong with it.
        TooLarge: over a million lines.
    """
    wrong: list[dict[str, Any]] = []
    for number, line in enumerate(_lines(pieces), start=1):
        if number > MOST_LINES:
            raise TooLarge(f"An import takes {MOST_LINES} lines: send the rest in another one.")
        if len(wrong) < MOST_NAMED and line.strip() and (found := _complaint(staged, line)):
            wrong.append({"line": number, **found})
    if wrong:
        raise _refusal(wrong)


def store(session: Session, staged: Staged, table: Table, *, given: Mapping[str, Any]) -> Imported:
    """Insert every line that is not there yet; commits nothing.

    The caller sees to it that no two imports with keys in common run at once: each would wait for
    the other's rows.

    Args:
        table: its unique constraints and indexes say what is there already.
        given: columns that are the same in every row.
    """
    statement = _insertion(table, staged.columns, given)
    connection = session.connection()
    accepted = sum(
        connection.execute(statement, {**given, "lines": batch}).rowcount
        for batch in staged.batches()
    )
    return Imported(accepted=accepted, duplicates=staged.lines - accepted)


def _insertion(table: Table, columns: Iterable[str], given: Iterable[str]) -> TextClause:
    own, same = list(columns), list(given)
    names = ", ".join(f'"{name}"' for name in (*same, *own))
    values = ", ".join((*(f":{name}" for name in same), *(f'line."{name}"' for name in own)))
    return text(  # every name is the program's own
        f"INSERT INTO {table.name} ({names}) SELECT {values}"  # noqa: S608 - as above
        f" FROM json_populate_recordset(NULL::{table.name}, CAST(:lines AS json)) line"
        " ON CONFLICT DO NOTHING"
    )


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Raises Malformed: one is longer than any line may be."""
    number = 1
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
            number += 1
        if len(rest) > LONGEST_LINE:
            raise Malformed(
                f"Line {number} is longer than {LONGEST_LINE} bytes.", code="invalid-lines"
            )
    if rest:
        yield rest


def _complaint(staged: Staged, line: bytes) -> dict[str, Any] | None:
    try:
        staged.add(line)
    except Malformed as error:
        return {"field": None, "message": error.detail}
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part)[: strictjson.SHOWN] for part in first["loc"])
        return {"field": field or None, "message": first["msg"].removeprefix("Value error, ")}
    return None


def _refusal(wrong: list[dict[str, Any]]) -> Malformed:
    first = wrong[0]
    place = f"line {first['line']}" + (f", {first['field']}" if first["field"] else "")
    numbers = ", ".join(str(one["line"]) for one in wrong[1:])
    others = f"; wrong as well: {numbers}" if numbers else ""
    return Malformed(
        f"Nothing was imported: {place}: {first['message']}{others}",
        code="invalid-lines",
        errors=wrong,
    )


def _array(lines: list[bytes]) -> str:
    return f"[{b','.join(lines).decode()}]"
