"""Why a row is where it is: reads by primary key, and one bounded count."""

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    SmallInteger,
    Text,
    bindparam,
    case,
    func,
    literal,
    null,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import CTE, Select

from backend.db import unnest
from backend.queue.attempts import Attempt
from backend.queue.fleet import ALIVE, QueuePause, Worker
from backend.queue.lifecycle import Queue
from backend.queue.sql.blocks import CLOCK, LOCKER
from backend.queue.sql.lanes import in_lane, not_paused, pressing

ROW = ("id", "status", "priority", "attempts", "max_attempts", "stalls", "step", "leased_by",
       "lease_expires_at", "heartbeat_at", "progressed_at", "failure", "failed_from", "error",
       "started_at", "completed_at", "updated_at")  # fmt: skip


@cache
def row_now(queue: Queue) -> Select[Any]:
    """The row :row_id and the database's time. ``available_at`` is null where it is infinite."""
    rows = queue.rows
    available = rows.c.available_at
    return select(
        *(rows.c[name] for name in ROW),
        case((func.isfinite(available), available)).label("available_at"),
        (available <= func.now()).label("due"),
        (rows.c.queue if queue.partitions else null()).label("partition"),
        (rows.c.fairness_key if queue.fair else null()).label("fairness_key"),
        CLOCK.label("now"),
        LOCKER.label("locker"),
        func.pg_postmaster_start_time().label("server_since"),
    ).where(rows.c.id == bindparam("row_id", type_=BigInteger))


@cache
def last_line(queue: Queue) -> Select[*tuple[Any, ...]]:
    """How the last attempt at :row_id ended."""
    return (
        select(Attempt.outcome, Attempt.worker, Attempt.ended_at, Attempt.error)
        .where(
            Attempt.queue == queue.name,
            Attempt.row_id == bindparam("row_id", type_=BigInteger),
        )
        .order_by(Attempt.id.desc())
        .limit(1)
    )


@cache
def pauses(queue: Queue) -> Select[*tuple[Any, ...]]:
    """What keeps claims from :partition of the queue; a pause of the whole queue first."""
    columns = (QueuePause.partition, QueuePause.paused_by, QueuePause.reason, QueuePause.paused_at)
    return (
        select(*columns)
        .where(
            QueuePause.queue == queue.name,
            QueuePause.partition.in_(["", bindparam("partition", type_=Text)]),
        )
        .order_by(QueuePause.partition)
    )


@cache
def servers(queue: Queue) -> Select[*tuple[Any, ...]]:
    """Workers of the queue, and the one named :holder; the one seen last comes first."""
    serves = literal(queue.name) == func.any(Worker.queues)
    return (
        select(
            Worker.name,
            Worker.draining,
            Worker.heartbeat_at,
            (Worker.heartbeat_at > func.now() - literal(ALIVE, Interval())).label("alive"),
            serves.label("serves"),
        )
        .where(serves | (Worker.name == bindparam("holder", type_=Text)))
        .order_by(Worker.heartbeat_at.desc())
    )


@cache
def ahead(queue: Queue) -> Select[Any]:
    """How many due rows a claim would take before :row_id, counted up to :most.

    Those before it in its own lane, and all of every lane that is more pressing now. The lanes of
    a fair queue take turns: there only its own counts.
    """
    me = _lane_of(queue)
    counted = [_earlier(queue, me)]
    if not queue.fair:
        counted.append(_more_pressing(queue, me))
    found = union_all(*counted).limit(_most()).subquery()
    return select(func.count()).select_from(found)


def _most() -> ColumnElement[int]:
    return bindparam("most", type_=BigInteger)


def _lane_of(queue: Queue) -> CTE:
    rows = queue.rows
    lane: list[ColumnElement[Any]] = [rows.c.id, rows.c.available_at, rows.c.priority]
    if queue.partitions:
        lane.append(rows.c.queue.label("partition"))
    if queue.fair:
        lane.append(rows.c.fairness_key)
    mine = rows.c.id == bindparam("row_id", type_=BigInteger)
    return select(*lane).where(mine).cte("me").prefix_with("MATERIALIZED")


def _earlier(queue: Queue, me: CTE) -> Select[Any]:
    q = queue.rows.alias("q")
    before = (
        select(literal(1).label("one"))
        .where(
            *in_lane(queue, q, me),
            tuple_(q.c.available_at, q.c.id) < tuple_(me.c.available_at, me.c.id),
        )
        .limit(_most())
        .correlate(me)
        .lateral("before")
    )
    return select(before.c.one).select_from(me.join(before, true()))


def _more_pressing(queue: Queue, me: CTE) -> Select[Any]:
    shape: dict[str, Any] = {"priority": SmallInteger()}
    if queue.partitions:
        shape["partition"] = Text()
    lanes = unnest("lanes", **shape)
    q, r = queue.rows.alias("q"), queue.rows.alias("r")
    due = (*in_lane(queue, q, lanes), q.c.available_at <= func.now())
    oldest = (
        select(q.c.available_at)
        .where(*due)
        .order_by(q.c.available_at, q.c.id)
        .limit(1)
        .correlate(lanes)
        .lateral("oldest")
    )
    heads = (
        select(*lanes.c, pressing(lanes, oldest).label("pressing"))
        .select_from(lanes.join(oldest, true()))
        .where(not_paused(queue, lanes.c.partition if queue.partitions else None))
        .cte("heads")
        .prefix_with("MATERIALIZED")
    )
    same = heads.c.priority == me.c.priority
    if queue.partitions:
        same &= heads.c.partition == me.c.partition
    mine = select(heads.c.pressing).join(me, same).scalar_subquery()
    before = (
        select(literal(1).label("one"))
        .where(*in_lane(queue, r, heads), r.c.available_at <= func.now())
        .limit(_most())
        .correlate(heads)
        .lateral("before")
    )
    return (
        select(before.c.one)
        .select_from(heads.join(before, true()))
        .where(heads.c.pressing > mine)
        .limit(_most())
    )
