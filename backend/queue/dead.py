"""Rows that failed in processing: which there are, and which of them failed alike.

A fingerprint is the md5 of a row's error after whatever differs from row to row was taken out of
it, in SQL and by immutable functions alone, so that an index could hold it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    any_,
    cast,
    func,
    null,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lifecycle import PROCESSING_FAILURES, Queue

DIFFERING: Final = (
    # What stands in quotes. An apostrophe inside a word opens none.
    (r"""(?<![[:alnum:]])('[^']*'|"[^"]*"|`[^`]*`)""", "?"),
    # The path of an URL: one server that fails is one cause.
    (r"(://[^/[:space:]]+)/[^[:space:]]*", r"\1/?"),
    # UUIDs, digests in base64, and other long words with a digit in them.
    (r"(?=[a-z+/=_-]*[0-9])[a-z0-9+/=_-]{24,}", "#"),
    # Hexadecimal numbers and digests.
    (r"\m(0x[0-9a-f]+|[0-9a-f]{8,})\M", "#"),
    # Numbers, versions, addresses, times.
    (r"[0-9]+([.:][0-9]+)*", "#"),
)
"""What a fingerprint does not see: regular expressions, and what stands in their place."""

LOOKED_AT: Final = 20_000
"""Dead rows that one statement looks at, those that failed last: a second's worth of matching."""

Place = tuple[datetime, int]
"""(completed_at, id): where a row stands among dead rows, which are in the order of failing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of a queue's dead rows; all that is given must hold.

    ``failures`` are some of PROCESSING_FAILURES: what a policy or a person refused is not dead.
    ``failed_before`` is exclusive.
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
    """``count`` rows in all, the largest groups first.

    ``complete`` is false where only the newest LOOKED_AT dead rows were looked at.
    """

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
    alike: ColumnElement[Any] = func.coalesce(error, sql.word(""))
    for pattern, instead in DIFFERING:
        alike = func.regexp_replace(alike, sql.word(pattern), sql.word(instead), sql.word("gi"))
    return func.md5(alike)


def where(queue: Queue, selection: Selection) -> ColumnElement[bool]:
    """Where to look: what the queue's index over dead rows answers, and their ids."""
    rows = queue.rows.c
    found = [
        rows.failed_from == sql.word(queue.ready),
        sql.one_of(rows.failure, PROCESSING_FAILURES),
    ]
    if selection.ids is not None:
        found.append(rows.id == any_(cast([*selection.ids], ARRAY(BigInteger()))))
    if selection.failed_after is not None:
        found.append(rows.completed_at >= selection.failed_after)
    if selection.failed_before is not None:
        found.append(rows.completed_at < selection.failed_before)
    return and_(*found)


def wanted(queue: Queue, selection: Selection) -> ColumnElement[bool]:
    """What is asked of each row there."""
    rows = queue.rows.c
    conditions: list[ColumnElement[bool]] = [true()]
    if selection.failures is not None:
        conditions.append(rows.failure.in_(selection.failures))
    if selection.partition is not None:
        conditions.append(rows.queue == selection.partition)
    if selection.priority is not None:
        conditions.append(rows.priority == selection.priority)
    if selection.error_contains is not None:
        conditions.append(func.strpos(rows.error, selection.error_contains) > 0)
    if selection.fingerprint is not None:
        conditions.append(fingerprint(rows.error) == selection.fingerprint)
    return and_(*conditions)


def groups(
    session: Session, queue: Queue, selection: Selection = ALL, *, limit: int = 100
) -> Groups:
    """Dead rows by fingerprint, at most ``limit`` groups."""
    seen = _looked_at(queue, selection).subquery().c
    counted = (
        select(
            seen.fingerprint,
            func.count(),
            func.max(seen.error),
            func.array_agg(seen.failure.distinct()),
            func.min(seen.completed_at),
            func.max(seen.completed_at),
            func.sum(func.count()).over(),
        )
        .where(seen.wanted)
        .group_by(seen.fingerprint)
        .order_by(func.count().desc(), seen.fingerprint)
        .limit(limit)
    )
    found = session.execute(counted).all()
    return Groups(
        count=int(found[0][-1]) if found else 0,
        groups=[Group(*row[:-1]) for row in found],
        complete=_last_looked_at(session, queue, selection, before=None) is None,
    )


def rows(
    session: Session,
    queue: Queue,
    selection: Selection = ALL,
    *,
    before: Place | None = None,
    limit: int = 50,
) -> tuple[list[DeadRow], Place | None]:
    """Dead rows, those that failed last first; only those that stand before ``before``.

    Returns:
        At most ``limit`` rows, and what to give as ``before`` for the next ones: they may be few
        where few match, and yet not the last.
    """
    seen = _looked_at(queue, selection, before).subquery().c
    columns = [seen[name] for name in DeadRow._fields]
    newest_first = (seen.completed_at.desc(), seen.id.desc())
    chosen = select(*columns).where(seen.wanted).order_by(*newest_first).limit(limit)
    found = [DeadRow(*row) for row in session.execute(chosen)]
    if len(found) == limit:
        return found, (found[-1].completed_at, found[-1].id)
    return found, _last_looked_at(session, queue, selection, before)


def _looked_at(queue: Queue, selection: Selection, before: Place | None = None) -> Select[Any]:
    """The dead rows that one statement looks at; which of them are ``wanted``."""
    rows = queue.rows.c
    return (
        select(
            rows.id, rows.failure, rows.error, rows.step, rows.priority, rows.completed_at,
            (rows.queue if queue.partitions else null()).label("partition"),
            fingerprint(rows.error).label("fingerprint"),
            wanted(queue, selection).label("wanted"),
        )
        .where(where(queue, selection), *_stands_before(queue, before))
        .order_by(rows.completed_at.desc(), rows.id.desc())
        .limit(LOOKED_AT)
    )  # fmt: skip


def _last_looked_at(
    session: Session, queue: Queue, selection: Selection, before: Place | None
) -> Place | None:
    """The place of the last of LOOKED_AT dead rows; None where there are fewer."""
    rows = queue.rows.c
    last = (
        select(rows.completed_at, rows.id)
        .where(where(queue, selection), *_stands_before(queue, before))
        .order_by(rows.completed_at.desc(), rows.id.desc())
        .offset(LOOKED_AT - 1)
        .limit(1)
    )
    found = session.execute(last).one_or_none()
    return (found.completed_at, found.id) if found else None


def _stands_before(queue: Queue, place: Place | None) -> list[ColumnElement[bool]]:
    rows = queue.rows.c
    return [] if place is None else [tuple_(rows.completed_at, rows.id) < tuple_(*place)]
