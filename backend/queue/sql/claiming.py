"""From ready to held: the claim, its lanes, and rows that must run alone."""

from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Interval,
    SmallInteger,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import CTE, Select, TableValuedAlias

from backend.db import table_of, unnest
from backend.queue.claimable import Timestamp
from backend.queue.fleet import QueuePause
from backend.queue.lifecycle import AGING, SUSPECT_STALLS, Queue
from backend.queue.sql.blocks import CLOCK, array_of, one_of, word

RETURNED = ("id", "priority", "available_at", "status", "step", "attempts", "max_attempts",
            "stalls", "rewinds")  # fmt: skip


@cache
def claim(queue: Queue) -> ReturningUpdate[Any]:
    """Lease up to :limit ready rows, most pressing lane first.

    A lane is a priority (of a partition, of a fairness key). Parameters: ``lanes_*`` arrays of
    one element a lane: where its scan starts; ``share`` rows at most from each lane; ``limit``
    in all; ``token``, ``worker``, ``ttl``.
    """
    lanes = unnest("lanes", since=Timestamp, after_id=BigInteger(), **lane_shape(queue))
    oldest = ready_in_lane(queue, lanes).limit(1).lateral("oldest")
    # At most one row a lane: its oldest ready one, which decides how pressing the lane is.
    heads = (
        select(*lanes.c)
        .select_from(lanes.join(oldest, true()))
        .where(not_paused(queue, lanes.c.partition if queue.partitions else None))
        .order_by(pressing(lanes, oldest).desc())
        .cte("heads")
        .prefix_with("MATERIALIZED")
    )
    # No ORDER BY above the lock: it would lock ten batches to take one.
    row = (
        ready_in_lane(queue, heads)
        .limit(bindparam("share", type_=BigInteger))
        .with_for_update(key_share=True, skip_locked=True)
        .lateral("row")
    )
    picked = (
        select(row.c.id)
        .select_from(heads.join(row, true()))
        .limit(bindparam("limit", type_=BigInteger))
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    return lease_rows(queue, picked)


def pressing(lane: Any, oldest: Any) -> ColumnElement[Any]:
    """How urgent a lane is: its priority, raised with the wait of its oldest ready row."""
    waited = extract("epoch", func.now() - oldest.c.available_at)
    urgency: ColumnElement[Any] = lane.c.priority + waited / literal(AGING.total_seconds())
    return urgency


def lease_rows(queue: Queue, picked: CTE) -> ReturningUpdate[Any]:
    """The rows of ``picked``, which are locked, become held."""
    return (
        update(queue.rows)
        .where(queue.rows.c.id == array_of(picked))
        .values(claimed_values(queue))
        .returning(*returned(queue), *lane_columns(queue))
    )


def claimed_values(queue: Queue) -> dict[str, Any]:
    """What a claim writes: the next stage's status, one more attempt, the lease."""
    rows = queue.rows
    first = word(queue.stages[0].status)
    following = {
        stage.name: word(after.status)
        for stage in queue.stages
        if (after := queue.next_stage(stage.name))
    }
    return {
        "status": case(following, value=rows.c.step, else_=first) if following else first,
        "attempts": rows.c.attempts + 1,
        "lease_token": bindparam("token", type_=Uuid),
        "leased_by": bindparam("worker", type_=Text),
        "lease_expires_at": CLOCK + bindparam("ttl", type_=Interval),
        "heartbeat_at": CLOCK,
        "progressed_at": CLOCK,
        "started_at": CLOCK,
        "updated_at": CLOCK,
    }


def returned(queue: Queue) -> list[Any]:
    waited = queue.rows.c.started_at - queue.rows.c.available_at
    return [*(queue.rows.c[name] for name in RETURNED), waited.label("waited")]


def not_paused(queue: Queue, partition: ColumnElement[str] | None) -> ColumnElement[bool]:
    pauses = table_of(QueuePause).c
    where = [pauses.queue == queue.name]
    if partition is not None:
        where.append(or_(pauses.partition == "", pauses.partition == partition))
    return ~exists(select(literal(1)).where(*where))


def lane_shape(queue: Queue) -> dict[str, Any]:
    shape: dict[str, Any] = {"priority": SmallInteger()}
    if queue.partitions:
        shape["partition"] = Text()
    if queue.fair:
        shape["fairness_key"] = Text()
    return shape


def lane_columns(queue: Queue) -> list[Any]:
    names = (("queue",) if queue.partitions else ()) + (("fairness_key",) if queue.fair else ())
    return [queue.rows.c[name] for name in names]


def in_lane(queue: Queue, rows: Any, lane: Any) -> list[ColumnElement[bool]]:
    where = [
        rows.c.status == word(queue.ready),
        rows.c.stalls < literal(SUSPECT_STALLS, literal_execute=True),
        rows.c.priority == lane.c.priority,
    ]
    if queue.partitions:
        where.append(rows.c.queue == lane.c.partition)
    if queue.fair:
        where.append(rows.c.fairness_key == lane.c.fairness_key)
    return where


def ready_in_lane(queue: Queue, lane: CTE | TableValuedAlias) -> Select[Any]:
    """Ready rows of one lane from its mark on, oldest first; correlated to ``lane``."""
    rows = queue.rows.alias("q")
    return (
        select(rows.c.id, rows.c.available_at)
        .where(
            *in_lane(queue, rows, lane),
            tuple_(rows.c.available_at, rows.c.id) >= tuple_(lane.c.since, lane.c.after_id),
            rows.c.available_at <= func.now(),
        )
        .order_by(rows.c.available_at, rows.c.id)
        .correlate(lane)
    )


@cache
def next_due(queue: Queue) -> Select[Any]:
    """Seconds until the next row that backs off becomes ready, over the lanes given."""
    lanes, rows = unnest("lanes", **lane_shape(queue)), queue.rows.alias("q")
    soonest = (
        select(rows.c.available_at)
        .where(*in_lane(queue, rows, lanes), rows.c.available_at > func.now())
        .order_by(rows.c.available_at)
        .limit(1)
        .correlate(lanes)
        .lateral("soonest")
    )
    wait = extract("epoch", func.min(soonest.c.available_at) - CLOCK)
    return select(wait).select_from(lanes.join(soonest, true()))


def suspects(queue: Queue) -> Select[Any]:
    """Ready rows that stalled twice, oldest first; none of a paused queue."""
    rows = queue.rows.alias("q")
    found = (
        select(rows.c.id)
        .where(
            rows.c.status == word(queue.ready),
            rows.c.stalls >= literal(SUSPECT_STALLS, literal_execute=True),
            rows.c.available_at <= func.now(),
            not_paused(queue, rows.c.queue if queue.partitions else None),
        )
        .order_by(rows.c.available_at, rows.c.id)
    )
    if queue.partitions:
        return found.where(rows.c.queue == any_(cast(bindparam("partitions"), ARRAY(Text()))))
    return found


@cache
def claim_suspect(queue: Queue) -> ReturningUpdate[Any]:
    """Lease the one oldest ready row that has stalled twice: it must run alone."""
    picked = (
        suspects(queue)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    return lease_rows(queue, picked)


@cache
def fairness_keys(queue: Queue, *, ready_now: bool) -> Select[Any]:
    """The next :count lanes after :after in the circle of (partition, priority, key).

    A loose index scan: one probe of the ready index for each lane, however deep the lanes are.
    ``ready_now`` leaves out lanes whose rows all back off, and paused partitions.
    """
    rows = queue.rows
    lane: list[ColumnElement[Any]] = [rows.c.priority, rows.c.fairness_key]
    if queue.partitions:
        lane.insert(0, rows.c.queue.label("partition"))
    ready = and_(
        rows.c.status == word(queue.ready),
        rows.c.stalls < literal(SUSPECT_STALLS, literal_execute=True),
    )
    after = [bindparam(f"after_{c.name}", type_=c.type) for c in lane]
    first = select(*lane).where(ready, tuple_(*lane) > tuple_(*after)).order_by(*lane).limit(1)
    walk = first.cte("walk", recursive=True)
    step = (
        select(*lane)
        .where(ready, tuple_(*lane) > tuple_(*(walk.c[c.name] for c in lane)))
        .order_by(*lane)
        .limit(1)
        .correlate(walk)
        .lateral("following")
    )
    walk = walk.union_all(select(*step.c).select_from(walk.join(step, true())))
    lanes = select(*walk.c).limit(bindparam("count", type_=BigInteger))
    if queue.partitions:
        # Not inside the walk: each probe would then start at the partition's first row.
        lanes = lanes.where(walk.c.partition == any_(cast(bindparam("partitions"), ARRAY(Text()))))
    if not ready_now:
        return lanes
    q = rows.alias("q")
    waiting = select(literal(1)).where(*in_lane(queue, q, walk), q.c.available_at <= func.now())
    return lanes.where(
        exists(waiting), not_paused(queue, walk.c.partition if queue.partitions else None)
    )


@cache
def adopt(queue: Queue) -> Select[Any]:
    """Held rows that carry :token: what a claim whose answer was lost had taken."""
    return select(*returned(queue), *lane_columns(queue)).where(
        one_of(queue.rows.c.status, queue.held),
        queue.rows.c.lease_token == bindparam("token", type_=Uuid),
    )
