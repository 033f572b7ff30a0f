"""Rows that failed in processing: which there are, and which of them failed alike.

A fingerprint is the md5 of a row's error after whatever differs from row to row was taken out of
it, in SQL and by immutable functions alone, so that an index could hold it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Table,
    any_,
    cast,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.claimable import Timestamp
from backend.queue.lifecycle import PROCESSING_FAILURES, Queue

DIFFERING: Final = (
    # What stands in quotes. An apostrophe inside a word opens none.
    (r"""(?<![[:alnum:]])('[^']*'|"[^"]*"|`[^`]*`)""", "?"),
    # The path of an URL: one server that fails is one cause.
    (r"(://[^/[:space:]]*)/[^[:space:]]*", r"\1/?"),
    # UUIDs, hexadecimal numbers and digests.
    (r"\m(0x[0-9a-f]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,})\M", "#"),
    # Base64 digests and other long words with a digit in them.
    (r"(?=[[:alpha:]+/=_-]*[0-9])[[:alnum:]+/=_-]{24,}", "#"),
    # Numbers, versions, addresses, times.
    (r"[0-9]+([.:][0-9]+)*", "#"),
)
"""What a fingerprint does not see: regular expressions and what stands in their place, in order."""

LOOKED_AT: Final = 100_000
"""Dead rows that one count looks at, newest first."""

Place = tuple[datetime, int]
"""(completed_at, id): dead rows in the order in which they failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of a queue's dead rows; all that is given must hold.

    ``failures`` are some of PROCESSING_FAILURES: no verdict of a policy or a person is ever among
    a queue's dead rows. ``failed_before`` is exclusive.
    """

    ids: tuple[int, ...] | None = None
    fingerprint: str | None = None
    failures: tuple[str, ...] | None = None
    partition: str | None = None
    priority: int | None = None
    error_contains: str | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None


ALL: Final = Selection()


@dataclass(frozen=True, slots=True)
class Group:
    """Dead rows of one fingerprint. ``example`` is one of their errors."""

    fingerprint: str
    count: int
    example: str | None
    failures: list[str]
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True)
class Groups:
    """``count`` rows in all; the largest groups first. Not ``complete``: older rows were left."""

    count: int
    groups: list[Group]
    complete: bool


class DeadRow(NamedTuple):
    id: int
    fingerprint: str
    failure: str
    error: str | None
    step: str | None
    priority: int
    partition: str | None
    completed_at: datetime


def fingerprint(error: ColumnElement[Any]) -> ColumnElement[str]:
    """32 hexadecimal digits that rows share whose errors differ in DIFFERING parts only."""

    def without(text: ColumnElement[Any], part: tuple[str, str]) -> ColumnElement[Any]:
        return func.regexp_replace(text, *map(_written, part), _written("gi"))

    return func.md5(reduce(without, DIFFERING, func.coalesce(error, _written(""))))


def _written(text: str) -> ColumnElement[str]:
    """In the statement's text: as a parameter it would match no index on the expression."""
    return sql.word(text)


def is_dead(queue: Queue, rows: Table) -> list[ColumnElement[bool]]:
    """The predicate of the queue's index over dead rows."""
    return [
        rows.c.failed_from == sql.word(queue.ready),
        sql.one_of(rows.c.failure, PROCESSING_FAILURES),
    ]


def within(queue: Queue, selection: Selection) -> list[ColumnElement[bool]]:
    """The part of a selection that is cheap: where to look."""
    rows, found = queue.rows, is_dead(queue, queue.rows)
    if selection.ids is not None:
        found.append(rows.c.id == any_(cast([*selection.ids], ARRAY(BigInteger()))))
    if selection.failed_after is not None:
        found.append(rows.c.completed_at >= selection.failed_after)
    if selection.failed_before is not None:
        found.append(rows.c.completed_at < selection.failed_before)
    return found


def wanted(queue: Queue, selection: Selection) -> ColumnElement[bool]:
    """The part of a selection that each row there is asked."""
    rows, conditions = queue.rows, [literal(True)]
    if selection.failures is not None:
        conditions.append(rows.c.failure.in_(selection.failures))
    if selection.partition is not None:
        conditions.append(rows.c.queue == selection.partition)
    if selection.priority is not None:
        conditions.append(rows.c.priority == selection.priority)
    if selection.error_contains is not None:
        conditions.append(func.strpos(rows.c.error, selection.error_contains) > 0)
    if selection.fingerprint is not None:
        conditions.append(fingerprint(rows.c.error) == selection.fingerprint)
    return reduce(ColumnElement.__and__, conditions)
