"""From ready to held: the claim, its lanes, and rows that must run alone."""

from functools import cache
from typing import Any, Final

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
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
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


ONE: Final = literal(1, literal_execute=True)
"""A limit that a generic plan can see."""


@cache
def claim(queue: Queue) -> ReturningUpdate[Any]:
    """Lease up to :limit ready rows, most pressing lane first.

    A lane is a priority (of a partition, of a fairness key). Parameters: ``lanes_*`` arrays of
    one element a lane: where its scan starts; ``share`` rows at most from each lane; ``limit``
    in all; ``token``, ``worker``, ``ttl``.
    """
    return lease_rows(queue, pick(queue))


def pick(queue: Queue) -> CTE:
    """The ids that :func:`claim` takes, locked."""
    lanes = unnest("lanes", since=Timestamp, after_id=BigInteger(), **lane_shape(queue))
    oldest = ready_in_lane(queue, lanes).limit(ONE).lateral("oldest")
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
    return (
        select(row.c.id)
        .select_from(heads.join(row, true()))
        .limit(bindparam("limit", type_=BigInteger))
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )


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
        .returning(*returned(queue))
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
    afresh = {"progress": 0, "progress_message": null()} if "progress" in rows.c else {}
    return {
        **afresh,
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
    """What a claim answers of a row: :data:`RETURNED`, how long it waited, and its lane."""
    waited = queue.rows.c.started_at - queue.rows.c.available_at
    columns = [queue.rows.c[name] for name in RETURNED]
    return [*columns, waited.label("waited"), *lane_columns(queue)]


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
    """Seconds until the first row that is ready after :after (now, where null), over the lanes."""
    return soonest(queue, func.coalesce(bindparam("after", type_=Timestamp), func.now()))


def finite(rows: Any) -> ColumnElement[bool]:
    """Of rows that are ready some time: PostgreSQL 15 and 16 refuse to subtract an infinity."""
    some_time: ColumnElement[bool] = rows.c.available_at < cast("infinity", Timestamp)
    return some_time


def soonest(queue: Queue, after: ColumnElement[Any]) -> Select[Any]:
    """Seconds until the first row of ``lanes_*`` that is ready after that moment."""
    lanes, rows = unnest("lanes", **lane_shape(queue)), queue.rows.alias("q")
    first = (
        select(rows.c.available_at)
        .where(*in_lane(queue, rows, lanes), rows.c.available_at > after, finite(rows))
        .order_by(rows.c.available_at)
        .limit(ONE)
        .correlate(lanes)
        .lateral("soonest")
    )
    wait = extract("epoch", func.min(first.c.available_at) - CLOCK)
    return select(wait).select_from(lanes.join(first, true()))


def suspects(queue: Queue, partitions: str = "partitions") -> Select[Any]:
    """Ready rows that stalled twice, oldest first; none of a paused queue.

    ``partitions`` is the name of the parameter that says which ones count.
    """
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
        return found.where(rows.c.queue == any_(cast(bindparam(partitions), ARRAY(Text()))))
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
def circle(queue: Queue) -> Select[Any]:
    """Of a fair queue: up to :count lanes with a ready row after :after_*, then from the start.

    Lanes go round in the order of (partition, priority, key), lanes of paused partitions left out.
    Each row holds ``at``, the statement's ``now()``, a lane and how pressing that is; where there
    is no lane one row with nulls.
    """
    after = tuple_(*(bindparam(f"after_{c.name}", type_=c.type) for c in _lane(queue)))
    onward, again = walk_lanes(queue, "onward", after), walk_lanes(queue, "again", None)
    found = union_all(_open(queue, onward), _open(queue, again).where(tuple_(*again.c) <= after))
    lanes = found.limit(bindparam("count", type_=BigInteger)).subquery("lanes")
    asked = select(func.now().label("at")).subquery("asked")
    return select(asked.c.at, *lanes.c).select_from(asked.outerjoin(lanes, true()))


@cache
def first_lanes(queue: Queue) -> Select[Any]:
    """The first :count lanes of a fair queue, with a ready row or with one that backs off."""
    walk = walk_lanes(queue, "walk", None)
    return served_lanes(queue, walk).limit(bindparam("count", type_=BigInteger))


def _lane(queue: Queue) -> list[ColumnElement[Any]]:
    rows = queue.rows
    lane: list[ColumnElement[Any]] = [rows.c.priority, rows.c.fairness_key]
    return [rows.c.queue.label("partition"), *lane] if queue.partitions else lane


def walk_lanes(queue: Queue, name: str, after: ColumnElement[Any] | None) -> CTE:
    """A loose index scan: one probe of the ready index for each lane, however deep they are."""
    lane = _lane(queue)
    ready = and_(
        queue.rows.c.status == word(queue.ready),
        queue.rows.c.stalls < literal(SUSPECT_STALLS, literal_execute=True),
    )
    first = select(*lane).where(ready).order_by(*lane).limit(ONE)
    if after is not None:
        first = first.where(tuple_(*lane) > after)
    walk = first.cte(name, recursive=True)
    step = (
        select(*lane)
        .where(ready, tuple_(*lane) > tuple_(*(walk.c[c.name] for c in lane)))
        .order_by(*lane)
        .limit(ONE)
        .correlate(walk)
        .lateral("following")
    )
    return walk.union_all(select(*step.c).select_from(walk.join(step, true())))


def served_lanes(queue: Queue, walk: CTE, partitions: str = "partitions") -> Select[Any]:
    """Those of a walk that count; ``partitions`` is the parameter that says which do."""
    lanes = select(*walk.c)
    if not queue.partitions:
        return lanes
    # Not inside the walk: each probe would then start at the partition's first row.
    return lanes.where(walk.c.partition == any_(cast(bindparam(partitions), ARRAY(Text()))))


def _open(queue: Queue, walk: CTE) -> Select[Any]:
    """Lanes with a row that is ready now, and no pause; and how pressing each is."""
    q = queue.rows.alias("q")
    oldest = (
        select(q.c.available_at)
        .where(*in_lane(queue, q, walk), q.c.available_at <= func.now())
        .order_by(q.c.available_at, q.c.id)
        .limit(ONE)
        .correlate(walk)
        .lateral("oldest")
    )
    partition = walk.c.partition if queue.partitions else None
    return (
        served_lanes(queue, walk)
        .add_columns(pressing(walk, oldest).label("urgency"))
        .select_from(walk.join(oldest, true()))
        .where(not_paused(queue, partition))
    )


@cache
def adopt(queue: Queue) -> Select[Any]:
    """Held rows that carry :token: what a claim whose answer was lost had taken."""
    return select(*returned(queue)).where(
        one_of(queue.rows.c.status, queue.held),
        queue.rows.c.lease_token == bindparam("token", type_=Uuid),
    )
