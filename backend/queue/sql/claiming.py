"""From ready to held: the claim, when it finds the next row, and rows that must run alone."""

from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Interval,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    extract,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import CTE, Select

from backend.db import unnest
from backend.queue.claimable import Timestamp
from backend.queue.lifecycle import SUSPECT_STALLS, Queue
from backend.queue.sql.blocks import CLOCK, PLACE, array_of, one_of, place, word
from backend.queue.sql.lanes import (
    ONE,
    heads,
    in_lane,
    lane_columns,
    lane_shape,
    not_paused,
    ready_in_lane,
)

RETURNED = ("id", "priority", "available_at", "status", "step", "attempts", "max_attempts",
            "stalls", "rewinds")  # fmt: skip


@cache
def claim(queue: Queue) -> ReturningUpdate[Any]:
    """Lease up to :limit ready rows, most pressing lane first.

    Parameters: ``lanes_*`` arrays of one element a lane: where its scan starts; ``share`` rows at
    most from each lane; ``limit`` in all; ``token``, ``worker``, ``ttl``.
    """
    return lease_rows(queue, pick(queue))


def pick(queue: Queue) -> CTE:
    """The places of the rows that :func:`claim` takes, locked."""
    pressed = heads(queue).cte("heads").prefix_with("MATERIALIZED")
    # No ORDER BY above the lock: it would lock ten batches to take one.
    row = (
        ready_in_lane(queue, pressed)
        .limit(bindparam("share", type_=BigInteger))
        .with_for_update(key_share=True, skip_locked=True)
        .lateral("row")
    )
    return (
        select(row.c[PLACE])
        .select_from(pressed.join(row, true()))
        .limit(bindparam("limit", type_=BigInteger))
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )


def lease_rows(queue: Queue, picked: CTE) -> ReturningUpdate[Any]:
    """The rows of ``picked``, which are locked, become held."""
    return (
        update(queue.rows)
        .where(place(queue.rows) == array_of(picked, PLACE))
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
    waited = func.date_part("epoch", queue.rows.c.started_at - queue.rows.c.available_at)
    columns = [queue.rows.c[name] for name in RETURNED]
    return [*columns, waited.label("waited"), *lane_columns(queue)]


@cache
def next_due(queue: Queue) -> Select[Any]:
    """Seconds until the first row that is ready after :after (now, where null), over the lanes."""
    return soonest(queue, func.coalesce(bindparam("after", type_=Timestamp), func.now()))


def finite(rows: Any) -> ColumnElement[bool]:
    """Of rows that are ready some time: PostgreSQL 15 and 16 refuse to subtract an infinity."""
    ever = cast(literal_column("'infinity'"), Timestamp)
    some_time: ColumnElement[bool] = rows.c.available_at < ever
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
        select(place(rows))
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
def adopt(queue: Queue) -> Select[Any]:
    """Held rows that carry :token: what a claim whose answer was lost had taken."""
    return select(*returned(queue)).where(
        one_of(queue.rows.c.status, queue.held),
        queue.rows.c.lease_token == bindparam("token", type_=Uuid),
    )
