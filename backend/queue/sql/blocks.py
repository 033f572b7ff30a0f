"""What the statements are made of."""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    String,
    Text,
    TextClause,
    any_,
    bindparam,
    column,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.sql.selectable import CTE, FromClause

from backend.queue.attempts import Attempt
from backend.queue.lifecycle import Queue

CLOCK = func.clock_timestamp()


LOCKER = literal_column("CAST(xmax AS text)", Text())
"""Of the one table in a statement's FROM: the transaction that locked the row last, if any."""


PLACE: Final = "ctid"


Columns: TypeAlias = tuple[tuple[str, str], ...]
"""Columns that are a domain's own, each with what it is set to: SQL with ``:parameters``."""


def assigned(columns: Columns) -> dict[str, TextClause]:
    """What an UPDATE takes."""
    return {name: text(expression) for name, expression in columns}


LEASE_COLUMNS = ("lease_token", "leased_by", "lease_expires_at", "heartbeat_at")


HISTORY = ("id", "lease_token", "leased_by", "attempts", "step", "started_at", "stalls")


def word(status: str) -> ColumnElement[str]:
    """A status as a literal in the statement's text."""
    return literal(status, String(), literal_execute=True)


def one_of(status: ColumnElement[str], words: Iterable[str]) -> ColumnElement[bool]:
    """``status IN (…)`` with literal words, so that a partial index is seen to match."""
    return status.in_(bindparam(None, list(words), expanding=True, literal_execute=True))


def array_of(cte: CTE, column: str = "id") -> ColumnElement[Any]:
    """``ANY (ARRAY (SELECT id FROM cte))``: joining to the CTE made the planner hash the table."""
    return any_(func.array(select(cte.c[column]).scalar_subquery()))


def place(rows: FromClause) -> ColumnElement[Any]:
    """Where the version of a row lies, of a table or its alias.

    What a statement has locked stays where it is until it ends, and is found again there without
    a second way down the index, on which other workers are under way. Not so a row that somebody
    has written since the statement began: its newest version is locked, but not seen at its place.
    Whoever goes by places leaves it for the next time, like one that was locked.
    """
    found: ColumnClause[Any] = column(PLACE)
    found.table = rows
    return found


def cleared_lease() -> dict[str, Any]:
    return dict.fromkeys(LEASE_COLUMNS, null())


def write_attempts(queue: Queue, ended: CTE, outcome: Any, failure: Any, error: Any) -> CTE:
    """One history line for each row of ``ended``, in the same statement."""
    lines = select(
        literal(queue.name), ended.c.id, ended.c.lease_token, ended.c.leased_by,
        ended.c.attempts, ended.c.step, outcome, failure, error, ended.c.started_at, CLOCK,
    )  # fmt: skip
    names = ["queue", "row_id", "token", "worker", "attempt", "step", "outcome", "failure",
             "error", "started_at", "ended_at"]  # fmt: skip
    return insert(Attempt).from_select(names, lines).returning(Attempt.id).cte("history")
