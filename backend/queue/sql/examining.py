"""Questions about a queue's rows and history that a sound database answers with nothing.

Each looks at held rows, at both ends of an index, or at the newest rows and lines: none reads a
table whole.
"""

from datetime import timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    SmallInteger,
    String,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.selectable import Select, Subquery

from backend.db import unnest
from backend.queue.attempts import Attempt
from backend.queue.fleet import ALIVE, Worker
from backend.queue.lifecycle import PROCESSING_FAILURES, SUSPECT_STALLS, Queue
from backend.queue.sql.blocks import CLOCK, LOCKER, one_of, word
from backend.queue.sql.lanes import is_ready, not_paused

Answer = Select[*tuple[Any, ...]]

SHOWN: Final = 5  # rows named in a finding
KEY_ROWS: Final = 1000  # looked at in each lane of a fair queue
FRESH: Final = timedelta(days=1)
"""Rows this old at most must have their history: it is never pruned earlier."""

CLOCK_STEP: Final = timedelta(seconds=1)
"""What a server's clock may be set back by without our crying wolf."""


def _for(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=Interval)


def _held(queue: Queue) -> ColumnElement[bool]:
    return one_of(queue.rows.c.status, queue.held)


@cache
def overdue(queue: Queue) -> Answer:
    """Held rows whose lease ended more than :allowance ago: by then somebody should have reaped.

    Nothing in the server's own first :allowance, in which nobody may.
    """
    rows = queue.rows.c
    number = func.count().over().label("number")
    return (
        select(rows.id, rows.leased_by, rows.lease_expires_at, LOCKER.label("locker"), number)
        .where(
            _held(queue),
            rows.lease_expires_at < CLOCK - _for("allowance"),
            func.pg_postmaster_start_time() < CLOCK - _for("allowance"),
        )
        .order_by(rows.lease_expires_at)
        .limit(SHOWN)
    )


@cache
def unmoving(queue: Queue) -> Answer:
    """Held rows with a living lease and no progress for :allowance."""
    rows = queue.rows.c
    return (
        select(rows.id, rows.leased_by, rows.progressed_at, func.count().over().label("number"))
        .where(
            _held(queue),
            rows.lease_expires_at >= CLOCK,
            rows.progressed_at < CLOCK - _for("allowance"),
        )
        .order_by(rows.progressed_at)
        .limit(SHOWN)
    )


@cache
def left_behind(queue: Queue) -> Answer:
    """Workers that are not alive and hold rows, with how many and when they were last seen."""
    rows = queue.rows.c
    alive = exists(
        select(literal(1)).where(
            Worker.name == rows.leased_by, Worker.heartbeat_at > CLOCK - literal(ALIVE, Interval())
        )
    )
    return (
        select(
            rows.leased_by,
            func.count().label("number"),
            func.max(rows.heartbeat_at).label("seen_at"),
        )
        .where(_held(queue), rows.heartbeat_at < CLOCK - literal(ALIVE, Interval()), ~alive)
        .group_by(rows.leased_by)
        .order_by(func.count().desc())
        .limit(SHOWN)
    )


@cache
def spent(queue: Queue) -> Answer:
    """Rows with more attempts than they may have: held ones, and :most ready ones at each end."""
    rows = queue.rows
    taken = [rows.c.id, rows.c.attempts, rows.c.max_attempts]
    held = select(*taken, literal(0).label("next")).where(_held(queue))
    ends = [_ready_end(queue, taken, end) for end in (_ascending, _descending)]
    found = union_all(held, *(select(*end.c) for end in ends)).subquery()
    return (
        select(found.c.id, found.c.attempts, found.c.max_attempts)
        .distinct()
        .where(found.c.attempts + found.c.next > found.c.max_attempts)
        .order_by(found.c.id)
        .limit(SHOWN)
    )


def _ascending(column: Any) -> Any:
    return column.asc()


def _descending(column: Any) -> Any:
    return column.desc()


def _ready_end(queue: Queue, taken: list[Any], order: Any) -> Subquery:
    names = (
        *(("queue",) if queue.partitions else ()),
        "priority",
        *(("fairness_key",) if queue.fair else ()),
        "available_at",
        "id",
    )
    return (
        select(*taken, literal(1).label("next"))
        .where(is_ready(queue, queue.rows))
        .order_by(*(order(queue.rows.c[name]) for name in names))
        .limit(bindparam("most", type_=BigInteger))
        .subquery()
    )


@cache
def oldest_due(queue: Queue) -> Answer:
    """Since when the oldest row waits that a worker may claim now; null where there is none.

    In a fair queue of the first rows of each priority: its index is by key before it is by time.
    """
    lanes = unnest("lanes", priority=SmallInteger(), partition=Text())
    q, s = queue.rows.alias("q"), queue.rows.alias("s")
    waiting = select(q.c.available_at).where(
        is_ready(queue, q), q.c.priority == lanes.c.priority, q.c.available_at <= func.now()
    )
    if queue.partitions:
        waiting = waiting.where(q.c.queue == lanes.c.partition)
    if not queue.fair:
        waiting = waiting.order_by(q.c.available_at, q.c.id)
    first = waiting.limit(KEY_ROWS if queue.fair else 1).correlate(lanes).lateral("first")
    suspects = (
        select(s.c.available_at)
        .where(
            s.c.status == word(queue.ready),
            s.c.stalls >= literal(SUSPECT_STALLS, literal_execute=True),
            s.c.available_at <= func.now(),
            not_paused(queue, s.c.queue if queue.partitions else None),
        )
        .order_by(s.c.available_at)
        .limit(1)
    )
    due = union_all(
        select(first.c.available_at)
        .select_from(lanes.join(first, true()))
        .where(not_paused(queue, lanes.c.partition if queue.partitions else None)),
        suspects,
    ).subquery()
    return select(func.min(due.c.available_at).label("since"), CLOCK.label("now"))


@cache
def moves(queue: Queue) -> Answer:
    """Whether anything is held, or ended within :allowance."""
    ended = exists(
        select(literal(1)).where(
            Attempt.ended_at > func.now() - _for("allowance"), Attempt.queue == queue.name
        )
    )
    return select(or_(exists(select(literal(1)).where(_held(queue))), ended))


def _newest_lines() -> Subquery:
    columns = (Attempt.id, Attempt.queue, Attempt.row_id, Attempt.token, Attempt.started_at,
               Attempt.ended_at)  # fmt: skip
    lines = select(*columns).where(Attempt.token.is_not(None))
    newest = lines.order_by(Attempt.ended_at.desc(), Attempt.id.desc())
    return newest.limit(bindparam("most", type_=BigInteger)).subquery()


@cache
def told_twice() -> Answer:
    """Attempts that two lines of history tell, among the newest :most."""
    lines = _newest_lines()
    return (
        select(lines.c.queue, lines.c.row_id, func.count().label("lines"))
        .group_by(lines.c.queue, lines.c.row_id, lines.c.token)
        .having(func.count() > 1)
        .limit(SHOWN)
    )


@cache
def overlapping() -> Answer:
    """Attempts at one row that began before the one before had ended, among the newest :most."""
    lines = _newest_lines()
    before = func.lag(lines.c.ended_at).over(
        partition_by=(lines.c.queue, lines.c.row_id), order_by=(lines.c.ended_at, lines.c.id)
    )
    told = select(lines, before.label("before")).subquery()
    return (
        select(told.c.queue, told.c.row_id, told.c.started_at, told.c.before)
        .where(told.c.started_at < told.c.before - literal(CLOCK_STEP, Interval()))
        .limit(SHOWN)
    )


@cache
def untold(queue: Queue) -> Answer:
    """Of the newest :most rows those that ended within a day and whose end no line tells."""
    rows = queue.rows
    columns = ("id", "status", "failure", "failed_from", "started_at", "completed_at")
    newest = (
        select(*(rows.c[name] for name in columns))
        .order_by(rows.c.id.desc())
        .limit(bindparam("most", type_=BigInteger))
        .subquery()
    )
    lines = select(literal(1)).where(Attempt.queue == queue.name, Attempt.row_id == newest.c.id)
    processing = literal(list(PROCESSING_FAILURES), type_=None)
    done = and_(
        newest.c.status == literal(queue.done, String()),
        ~exists(lines.where(Attempt.outcome == "done")),
    )
    failed = and_(
        newest.c.failed_from == literal(queue.ready, String()),
        newest.c.failure == func.any(processing),
        ~exists(lines.where(Attempt.failure == newest.c.failure)),
    )
    since = CLOCK - literal(FRESH, Interval())
    return (
        select(newest.c.id, newest.c.status, newest.c.completed_at)
        .where(newest.c.completed_at > since, newest.c.started_at > since, or_(done, failed))
        .order_by(newest.c.id)
        .limit(SHOWN)
    )
