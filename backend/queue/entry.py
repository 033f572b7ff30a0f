"""How rows enter a queue: in the caller's transaction, which makes them ready with its own rows.

Nothing is committed here, unless the caller has no transaction and says so. After the commit,
:meth:`backend.queue.wake.Notifier.ready` tells idle workers; without it they find the rows when
they next look.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Interval,
    LargeBinary,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from backend.autocommit import Autocommit, Statement
from backend.queue.claimable import Claimable, Partitioned, Progressing
from backend.queue.compiled import compiled, element
from backend.queue.lifecycle import Queue

PRIORITIES: Final = range(1, 11)
ENGINES: Final = frozenset(
    {*Claimable.__annotations__, *Partitioned.__annotations__, *Progressing.__annotations__}
)
CHOSEN: Final = frozenset({"priority", "available_at", "max_attempts"})
"""Of the engine's columns, those that a caller may set; two more go by names of their own."""
NAMED: Final = {"partition": "queue", "delay": "available_at"}

Entry = ReturningInsert[int]


def enqueue(session: Session | Connection | Autocommit, queue: Queue, /, **columns: Any) -> int:
    """Insert one row that is ready; answers its id.

    Args:
        session: its transaction holds the row; by an ``Autocommit`` it is committed at once, which
            costs a fraction of a session of its own.
        queue: where the row enters.
        columns: the domain's own; ``priority`` (1 to 10, 10 most urgent, by default 5);
            ``max_attempts`` (at least 1, by default the queue's); of a partitioned queue
            ``partition`` (may be left out where there is only one); of a fair one
            ``fairness_key``; and ``available_at`` (a datetime with a time zone) or ``delay`` (a
            timedelta by the database's clock), before which it is not claimed.

    Raises:
        ValueError: an unknown or missing column, or a value that the queue does not take; the
            database was not asked.
    """
    names = tuple(columns)
    statement = _one(queue, names)
    for name, fits, rule in _rules(queue, names):
        if not fits(columns[name]):
            raise _unfit(queue, name, rule, columns[name])
    if not isinstance(session, Autocommit):
        return _connection(session).execute(statement, _given(columns)).scalar_one()
    alone = _alone(queue, names)
    values = {
        name: columns[name] if process is None else process(columns[name])
        for name, process in _processors(queue, names)
    }
    ((row_id,),) = session.rows(alone, _given(values))
    return int(row_id)


def enqueue_many(
    session: Session | Connection,
    queue: Queue,
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
) -> list[int]:
    """Insert many rows in one statement; answers their ids in the order given.

    Args:
        session: its transaction holds the rows.
        queue: where they enter.
        rows: the columns of :func:`enqueue`, either one mapping a row, all with the same columns;
            or one mapping for all of them, of lists with a value for each row (a list or a tuple
            is always that) and of values that all rows share.

    Raises:
        ValueError: as for :func:`enqueue`; lists of unequal lengths; rows of different columns.
    """
    count, columns = _counted(rows) if isinstance(rows, Mapping) else _turned(rows)
    each = tuple(name for name, values in columns.items() if _lists(values))
    names = tuple(columns)
    statement = _many(queue, names, each)
    for name, fits, rule in _rules(queue, names):
        for value in columns[name] if name in each else (columns[name],):
            if not fits(value):
                raise _unfit(queue, name, rule, value)
    if count == 0:
        return []
    connection = _connection(session)
    arrays = {
        name: _array(columns[name], _processor(_type(queue, name), connection.dialect))
        for name in each
    }
    given = _given({**columns, **arrays}) or {"count": count}
    return list(connection.execute(statement, given).scalars())


def _given(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters; SQLAlchemy keeps the columns' own names for itself."""
    return {f"given_{name}": value for name, value in columns.items()}


def _connection(session: Session | Connection) -> Connection:
    return session.connection() if isinstance(session, Session) else session


def _counted(columns: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    lengths = {name: len(values) for name, values in columns.items() if _lists(values)}
    if not lengths:
        raise ValueError("no column has a list of values: how many rows?")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"columns of unequal lengths: {said}")
    return next(iter(lengths.values())), columns


def _turned(rows: Sequence[Mapping[str, Any]]) -> tuple[int, Mapping[str, Any]]:
    names = rows[0].keys() if rows else ()
    for place, row in enumerate(rows):
        if row.keys() != names:
            raise ValueError(f"row {place} has other columns than the first row")
    return len(rows), {name: [row[name] for row in rows] for name in names}


def _lists(values: Any) -> bool:
    return isinstance(values, list | tuple)


@cache
def _rules(queue: Queue, names: tuple[str, ...]) -> list[tuple[str, Callable[[Any], bool], str]]:
    """What fits, and how to say it: the database would refuse another value, or misread it."""
    partitions = queue.partitions or ()
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "priority": (PRIORITIES.__contains__, f"{PRIORITIES[0]} to {PRIORITIES[-1]}"),
        "max_attempts": (lambda most: isinstance(most, int) and most >= 1, "1 or more"),
        "partition": (partitions.__contains__, f"one of {', '.join(partitions)}"),
        "available_at": (
            lambda at: isinstance(at, datetime) and at.tzinfo is not None,
            "a datetime with a time zone",
        ),
        "delay": (lambda delay: isinstance(delay, timedelta), "a timedelta"),
    }
    return [(name, *rules[name]) for name in names if name in rules]


def _unfit(queue: Queue, name: str, rule: str, value: Any) -> ValueError:
    return ValueError(f"queue {queue.name}: {name} is {rule}, not {value!r}")


def _columns(queue: Queue, names: tuple[str, ...]) -> dict[str, Column[Any]]:
    """What each name sets.

    Raises:
        ValueError: the queue has no such column for a caller to set, or wants one more.
    """
    rows = queue.rows.c
    if {"available_at", "delay"} <= set(names):
        raise ValueError(f"queue {queue.name}: available_at or delay, not both")
    known = {c.name: c for c in rows if c.name not in ENGINES or c.name in CHOSEN}
    known["delay"] = rows.available_at
    if queue.partitions:
        known["partition"] = rows.queue
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"queue {queue.name} has no column {unknown[0]!r} to be set")
    wanted = {name for name, c in known.items() if not c.nullable and c.server_default is None}
    if len(queue.partitions or ()) == 1:
        wanted.discard("partition")
    if missing := sorted(wanted - set(names)):
        raise ValueError(f"queue {queue.name}: {missing[0]} is wanting")
    return {name: known[name] for name in names}


def _type(queue: Queue, name: str) -> TypeEngine[Any]:
    return Interval() if name == "delay" else queue.rows.c[NAMED.get(name, name)].type


def _row(
    queue: Queue, names: tuple[str, ...], value: Callable[[str], ColumnElement[Any]]
) -> dict[str, ColumnElement[Any]]:
    """All columns of a row that is to be ready, by the name in the table."""
    rows = queue.rows.c
    row: dict[str, ColumnElement[Any]] = {
        "status": literal(queue.ready, rows.status.type),
        "max_attempts": literal(queue.max_attempts, rows.max_attempts.type),
    }
    if queue.partitions and "partition" not in names:
        row["queue"] = literal(queue.partitions[0], rows.queue.type)
    for name, target in _columns(queue, names).items():
        row[target.name] = func.now() + value(name) if name == "delay" else value(name)
    return row


@cache
def _one(queue: Queue, names: tuple[str, ...]) -> Entry:
    def value(name: str) -> ColumnElement[Any]:
        type_ = _type(queue, name)
        return cast(bindparam(f"given_{name}", type_=type_), type_)

    row = _row(queue, names, value)
    return insert(queue.rows).values(row).returning(queue.rows.c.id)


@cache
def _alone(queue: Queue, names: tuple[str, ...]) -> Statement:
    return compiled(_one(queue, names), kind="enqueue")


@cache
def _processors(
    queue: Queue, names: tuple[str, ...]
) -> list[tuple[str, Callable[[Any], Any] | None]]:
    dialect = psycopg2.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's
    return [(name, _processor(_type(queue, name), dialect)) for name in names]


@cache
def _many(queue: Queue, names: tuple[str, ...], each: tuple[str, ...]) -> Entry:
    """Ids are given, and answered, in the order of the arrays, which are text until here."""
    if each:
        arrays = [cast(bindparam(f"given_{name}", type_=Text()), ARRAY(Text())) for name in each]
        shape = [column(name, Text()) for name in each]
        function = func.unnest(*arrays)
        given = function.table_valued(*shape, with_ordinality="place").render_derived("given")
    else:
        series = func.generate_series(1, bindparam("count"))
        given = series.table_valued("place").render_derived("given")

    def value(name: str) -> ColumnElement[Any]:
        type_ = _type(queue, name)
        return cast(
            given.c[name] if name in each else bindparam(f"given_{name}", type_=type_), type_
        )

    row = _row(queue, names, value)
    found = select(*row.values()).select_from(given).order_by(given.c.place)
    return insert(queue.rows).from_select(list(row), found).returning(queue.rows.c.id)


def _processor(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What the column's type makes of a value: a document its text, and so on."""
    if isinstance(type_, LargeBinary):
        return None  # it would make an object of the driver's
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _array(values: Collection[Any], process: Callable[[Any], Any] | None) -> str:
    """An array in PostgreSQL's own notation: a fifth of the driver's time for a list."""
    if process is not None:
        values = [process(value) for value in values]
    return "{" + ",".join([element(value) for value in values]) + "}"
