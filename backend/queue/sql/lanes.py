"""Lanes of a queue: what they are, and which of them have rows.

A lane is a priority (of a partition, of a fairness key).
"""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    SmallInteger,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    exists,
    extract,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import CTE, Select, Subquery, TableValuedAlias

from backend.db import table_of, unnest
from backend.queue.claimable import Timestamp
from backend.queue.fleet import QueuePause
from backend.queue.lifecycle import AGING, SUSPECT_STALLS, Queue
from backend.queue.sql.blocks import place, word

ONE: Final = literal(1, literal_execute=True)
"""A limit that a generic plan can see."""
BEFORE: Final = 0
"""Less than any priority."""
END: Final = (11, "")
"""Behind any priority and key."""


def pressing(lane: Any, oldest: Any) -> ColumnElement[Any]:
    """How urgent a lane is: its priority, raised with the wait of its oldest ready row."""
    waited = extract("epoch", func.now() - oldest.c.available_at)
    urgency: ColumnElement[Any] = lane.c.priority + waited / literal(AGING.total_seconds())
    return urgency


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


def is_ready(queue: Queue, rows: Any) -> ColumnElement[bool]:
    """As the partial index over the lanes says it: now or later, and no suspect."""
    return and_(
        rows.c.status == word(queue.ready),
        rows.c.stalls < literal(SUSPECT_STALLS, literal_execute=True),
    )


def in_lane(queue: Queue, rows: Any, lane: Any) -> list[ColumnElement[bool]]:
    where = [is_ready(queue, rows), rows.c.priority == lane.c.priority]
    if queue.partitions:
        where.append(rows.c.queue == lane.c.partition)
    if queue.fair:
        where.append(rows.c.fairness_key == lane.c.fairness_key)
    return where


def ready_in_lane(queue: Queue, lane: CTE | TableValuedAlias) -> Select[Any]:
    """Ready rows of one lane from its mark on, oldest first; correlated to ``lane``."""
    rows = queue.rows.alias("q")
    return (
        select(place(rows), rows.c.available_at, rows.c.id)
        .where(
            *in_lane(queue, rows, lane),
            tuple_(rows.c.available_at, rows.c.id) >= tuple_(lane.c.since, lane.c.after_id),
            rows.c.available_at <= func.now(),
        )
        .order_by(rows.c.available_at, rows.c.id)
        .correlate(lane)
    )


def heads(queue: Queue) -> Select[Any]:
    """Of ``lanes_*`` those with a row that is ready from their mark on, and no pause.

    The most pressing first, by its oldest such row; ``urgency`` tells how pressing it is, and
    ``since`` and ``after_id`` where that row is: what died before it need not be passed again.
    """
    lanes = unnest("lanes", since=Timestamp, after_id=BigInteger(), **lane_shape(queue))
    oldest = ready_in_lane(queue, lanes).limit(ONE).lateral("oldest")
    urgency = pressing(lanes, oldest).label("urgency")
    lane = (lanes.c[name] for name in lane_shape(queue))
    start = (oldest.c.available_at.label("since"), oldest.c.id.label("after_id"))
    return (
        select(*lane, *start, urgency)
        .select_from(lanes.join(oldest, true()))
        .where(not_paused(queue, lanes.c.partition if queue.partitions else None))
        .order_by(urgency.desc())
    )


@cache
def circle(queue: Queue) -> Select[Any]:
    """Of a fair queue: up to :count lanes with a ready row after :after_*, then from the start.

    Lanes go round in the order of (partition, priority, key), lanes of paused partitions left out.
    Each row holds ``at``, the statement's ``now()``, a lane and how pressing that is; where there
    is no lane one row with nulls.
    """
    lane = _lane(queue)
    after = tuple_(*(bindparam(f"after_{c.name}", type_=c.type) for c in lane))
    onward = walk_lanes(queue, "onward", after=after)
    again = walk_lanes(queue, "again", last=after)
    found = union_all(_open(queue, onward), _open(queue, again))
    return _seen(found.limit(bindparam("count", type_=BigInteger)).subquery("lanes"))


@cache
def open_lanes(queue: Queue) -> Select[Any]:
    """Of a fair queue: which of ``lanes_*`` have a ready row, from their marks on; and new ones.

    Answers as :func:`circle` does, but passes no dead row that is behind a mark. Of lanes that are
    not named the first one between two that are is found, if its first row is ready.
    """
    known = heads(queue).subquery("known")
    columns = [known.c[c.name] for c in _lane(queue)]
    named: Select[Any] = select(*columns, known.c.urgency)
    return _seen(union_all(named, _between(queue)).subquery("lanes"))


def _between(queue: Queue) -> Select[Any]:
    """The first lane in each gap that ``lanes_*`` leave, in a partition that is served."""
    lane, rows = _lane(queue), queue.rows.c
    named = unnest("lanes", **lane_shape(queue))
    first: list[Any] = [cast(BEFORE, SmallInteger), cast("", Text())]
    if queue.partitions:
        served = func.unnest(cast(bindparam("partitions"), ARRAY(Text()))).column_valued("served")
        first = [served, *first]
    start = select(*(value.label(c.name) for value, c in zip(first, lane, strict=True)))
    edges = union_all(select(*(named.c[c.name] for c in lane)), start).subquery("edges")
    place = [edges.c.priority, edges.c.fairness_key]
    inside = edges.c.partition if queue.partitions else None
    ends = [
        func.lead(c, 1, cast(end, c.type)).over(partition_by=inside, order_by=place)
        for c, end in zip(place, END, strict=True)
    ]
    gap = select(*edges.c, ends[0].label("to_priority"), ends[1].label("to_key")).subquery("gap")
    there = tuple_(rows.priority, rows.fairness_key)
    row = select(*lane, rows.available_at).where(
        is_ready(queue, queue.rows),
        there > tuple_(gap.c.priority, gap.c.fairness_key),
        there < tuple_(gap.c.to_priority, gap.c.to_key),
    )
    if queue.partitions:
        row = row.where(rows.queue == gap.c.partition)
    row = row.order_by(*lane, rows.available_at, rows.id).limit(ONE)
    found = row.correlate(gap).lateral("found")
    return (
        select(*(found.c[c.name] for c in lane), pressing(found, found).label("urgency"))
        .select_from(gap.join(found, true()))
        .where(
            found.c.available_at <= func.now(),
            not_paused(queue, found.c.partition if queue.partitions else None),
        )
    )


def _seen(lanes: Subquery) -> Select[Any]:
    asked = select(func.now().label("at")).subquery("asked")
    return select(asked.c.at, *lanes.c).select_from(asked.outerjoin(lanes, true()))


@cache
def first_lanes(queue: Queue) -> Select[Any]:
    """The first :count lanes of a fair queue, with a ready row or with one that backs off."""
    walk = walk_lanes(queue, "walk")
    return served_lanes(queue, walk).limit(bindparam("count", type_=BigInteger))


def _lane(queue: Queue) -> list[ColumnElement[Any]]:
    rows = queue.rows
    lane: list[ColumnElement[Any]] = [rows.c.priority, rows.c.fairness_key]
    return [rows.c.queue.label("partition"), *lane] if queue.partitions else lane


def walk_lanes(
    queue: Queue,
    name: str,
    *,
    after: ColumnElement[Any] | None = None,
    last: ColumnElement[Any] | None = None,
) -> CTE:
    """A loose index scan: one probe of the ready index for each lane, however deep they are.

    Answers the lanes, some of them if one is named, and when each one's first row is ready.
    """
    lane, rows = _lane(queue), queue.rows.c
    row = (
        select(*lane, rows.available_at)
        .where(is_ready(queue, queue.rows))
        .order_by(*lane, rows.available_at, rows.id)
        .limit(ONE)
    )
    if last is not None:
        row = row.where(tuple_(*lane) <= last)
    first = row if after is None else row.where(tuple_(*lane) > after)
    walk = first.cte(name, recursive=True)
    # Not after both: a scan of the index would begin at the first of two such bounds.
    passed = tuple_(*(walk.c[c.name] for c in lane))
    step = row.where(tuple_(*lane) > passed).correlate(walk).lateral("following")
    return walk.union_all(select(*step.c).select_from(walk.join(step, true())))


def served_lanes(queue: Queue, walk: CTE, partitions: str = "partitions") -> Select[Any]:
    """Those of a walk that count; ``partitions`` is the parameter that says which do."""
    lanes = select(*(walk.c[c.name] for c in _lane(queue)))
    if not queue.partitions:
        return lanes
    # Not inside the walk: each probe would then start at the partition's first row.
    return lanes.where(walk.c.partition == any_(cast(bindparam(partitions), ARRAY(Text()))))


def _open(queue: Queue, walk: CTE) -> Select[Any]:
    """Lanes with a row that is ready now, and no pause; and how pressing each is."""
    return (
        served_lanes(queue, walk)
        .add_columns(pressing(walk, walk).label("urgency"))
        .where(
            walk.c.available_at <= func.now(),
            not_paused(queue, walk.c.partition if queue.partitions else None),
        )
    )
