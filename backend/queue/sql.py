"""Every statement a worker sends, as SQLAlchemy Core. Each is one round trip.

Status words are literals, never parameters: a generic plan with ``status = $1`` loses the
partial index. ``clock_timestamp()`` never stands in an index range (it would be a filter, not
an index condition); ``now()`` does. ``docs/engine.md`` has the measurements.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Interval,
    SmallInteger,
    String,
    Table,
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
    insert,
    literal,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import CTE, Select, TableValuedAlias

from backend.db import unnest
from backend.queue.attempts import Attempt
from backend.queue.claimable import Timestamp
from backend.queue.fleet import QueuePause
from backend.queue.lifecycle import AGING, SUSPECT_STALLS, Queue

CLOCK = func.clock_timestamp()
LEASE_COLUMNS = ("lease_token", "leased_by", "lease_expires_at", "heartbeat_at")
RETURNED = ("id", "priority", "available_at", "status", "step", "attempts", "max_attempts",
            "stalls")  # fmt: skip


def word(status: str) -> ColumnElement[str]:
    """A status as a literal in the statement's text."""
    return literal(status, String(), literal_execute=True)


def one_of(status: ColumnElement[str], words: Iterable[str]) -> ColumnElement[bool]:
    """``status IN (…)`` with literal words, so that a partial index is seen to match."""
    return status.in_(bindparam(None, list(words), expanding=True, literal_execute=True))


def array_of(cte: CTE) -> ColumnElement[Any]:
    """``ANY (ARRAY (SELECT id FROM cte))``: joining to the CTE made the planner hash the table."""
    return any_(func.array(select(cte.c.id).scalar_subquery()))


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
    where = [QueuePause.queue == queue.name]
    if partition is not None:
        where.append(or_(QueuePause.partition == "", QueuePause.partition == partition))
    return ~exists(select(literal(1)).where(*where))


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
    pressing = lanes.c.priority + extract("epoch", func.now() - oldest.c.available_at) / literal(
        AGING.total_seconds()
    )
    heads = (
        select(*lanes.c)
        .select_from(lanes.join(oldest, true()))
        .where(not_paused(queue, lanes.c.partition if queue.partitions else None))
        .order_by(pressing.desc())
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
    return (
        update(queue.rows)
        .where(queue.rows.c.id == array_of(picked))
        .values(claimed_values(queue))
        .returning(*returned(queue), *lane_columns(queue))
    )


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
    return (
        update(queue.rows)
        .where(queue.rows.c.id == array_of(picked))
        .values(claimed_values(queue))
        .returning(*returned(queue), *lane_columns(queue))
    )


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


@cache
def heartbeat(queue: Queue) -> ReturningUpdate[Any]:
    """Extend the leases in ``leases_id``, ``leases_token`` by ``ttl``; never waits for a lock."""
    rows, leases = queue.rows, unnest("leases", id=BigInteger(), token=Uuid())
    q = rows.alias("q")
    mine = (
        select(q.c.id)
        .join(leases, and_(q.c.id == leases.c.id, q.c.lease_token == leases.c.token))
        .with_for_update(key_share=True, skip_locked=True, of=q)
        .cte("mine")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(rows)
        .where(rows.c.id == array_of(mine))
        .values(heartbeat_at=CLOCK, lease_expires_at=CLOCK + bindparam("ttl", type_=Interval))
        .returning(rows.c.id)
    )


@cache
def still_mine(queue: Queue) -> Select[Any]:
    """Which of the leases still carry their token: the question a skipped heartbeat asks."""
    leases = unnest("leases", id=BigInteger(), token=Uuid())
    rows = queue.rows
    return select(rows.c.id).join(
        leases, and_(rows.c.id == leases.c.id, rows.c.lease_token == leases.c.token)
    )


def fence(rows: Table) -> list[ColumnElement[bool]]:
    """The row, my token, and the step I continue from."""
    return [
        rows.c.id == bindparam("row_id", type_=BigInteger),
        rows.c.lease_token == bindparam("token", type_=Uuid),
        rows.c.step.is_not_distinct_from(bindparam("from_step", type_=Text)),
    ]


@cache
def commit_step(queue: Queue) -> ReturningUpdate[Any]:
    """Record a finished step. ``attempts`` counts from here on: this claim is the first."""
    rows = queue.rows
    return (
        update(rows)
        .where(*fence(rows))
        .values(
            status=bindparam("next_status", type_=Text),
            step=bindparam("finished_step", type_=Text),
            attempts=1,
            stalls=0,
            error=null(),
            progressed_at=CLOCK,
            updated_at=CLOCK,
        )
        .returning(rows.c.id)
    )


@cache
def progress(queue: Queue) -> ReturningUpdate[Any]:
    """Say that the row moves on, and under which status; no step is finished."""
    rows = queue.rows
    return (
        update(rows)
        .where(*fence(rows))
        .values(status=bindparam("next_status", type_=Text), progressed_at=CLOCK, updated_at=CLOCK)
        .returning(rows.c.id)
    )


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


HISTORY = ("id", "lease_token", "leased_by", "attempts", "step", "started_at", "stalls")


@cache
def settle(queue: Queue) -> Select[Any]:
    """End the attempts in ``ends_*``, one statement for a whole batch, history included.

    Rows are locked in the order of their ids first: two batches that share rows would deadlock
    within seconds otherwise. Answers the ids that were still mine.
    """
    rows = queue.rows
    ends = unnest(
        "ends", id=BigInteger(), token=Uuid(), status=Text(), outcome=Text(), failure=Text(),
        error=Text(), delay=Interval(), attempts=SmallInteger(), stalls=SmallInteger(),
        restart=Boolean(),
    )  # fmt: skip
    q = rows.alias("q")
    asked = [ends.c[n].label(f"to_{n}") for n in ("status", "outcome", "failure", "error",
             "delay", "attempts", "stalls", "restart")]  # fmt: skip
    locked = (
        select(*(q.c[name] for name in HISTORY), *asked)
        .join(ends, and_(q.c.id == ends.c.id, q.c.lease_token == ends.c.token))
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
        .cte("locked")
        .prefix_with("MATERIALIZED")
    )
    to_ready = locked.c.to_status == word(queue.ready)
    settled = (
        update(rows)
        .where(rows.c.id == locked.c.id)
        .values(
            status=locked.c.to_status,
            available_at=case(
                (locked.c.to_delay.is_not(None), CLOCK + locked.c.to_delay),
                else_=rows.c.available_at,
            ),
            attempts=locked.c.to_attempts,
            stalls=locked.c.to_stalls,
            step=case((~locked.c.to_restart, rows.c.step)),
            failure=locked.c.to_failure,
            failed_from=case((locked.c.to_failure.is_not(None), word(queue.ready))),
            error=locked.c.to_error,
            completed_at=case((~to_ready, CLOCK)),
            updated_at=CLOCK,
            **cleared_lease(),
        )
        .returning(rows.c.id)
        .cte("settled")
    )
    history = write_attempts(
        queue, locked, locked.c.to_outcome, locked.c.to_failure, locked.c.to_error
    )
    return select(settled.c.id).add_cte(history)


@cache
def reap(queue: Queue) -> Select[Any]:
    """Take back stalled rows: lease expired, or no progress for longer than :horizons allow.

    Idempotent and never waiting: the horizon is re-checked on the locked row version, and what
    somebody else has locked is somebody else's. An outage blames nobody: nothing is reaped
    until the server has been up for one lease time.
    """
    rows = queue.rows
    q = rows.alias("q")
    horizons = unnest("horizons", status=Text(), longest=Interval())
    longest = select(horizons.c.longest).where(horizons.c.status == q.c.status).scalar_subquery()
    stale = (
        select(*(q.c[name] for name in HISTORY))
        .where(
            one_of(q.c.status, queue.held),
            or_(q.c.lease_expires_at < CLOCK, q.c.progressed_at < CLOCK - longest),
            func.pg_postmaster_start_time() < CLOCK - bindparam("ttl", type_=Interval),
        )
        .order_by(q.c.id)
        .limit(bindparam("limit", type_=BigInteger))
        .with_for_update(key_share=True, skip_locked=True, of=q)
        .cte("stale")
        .prefix_with("MATERIALIZED")
    )
    # At this many stalls the row ran alone: the death is its own.
    poison = stale.c.stalls >= SUSPECT_STALLS
    why = func.concat("stalled ", stale.c.stalls + 1, " time(s); last held by ", stale.c.leased_by)
    reaped = (
        update(rows)
        .where(rows.c.id == stale.c.id)
        .values(
            status=case((poison, word(queue.failed)), else_=word(queue.ready)),
            attempts=func.greatest(rows.c.attempts - 1, 0),
            stalls=rows.c.stalls + 1,
            failure=case((poison, "poison")),
            failed_from=case((poison, word(queue.ready))),
            error=why,
            completed_at=case((poison, CLOCK)),
            updated_at=CLOCK,
            **cleared_lease(),
        )
        .returning(rows.c.id, rows.c.status, rows.c.failure, stale.c.leased_by)
        .cte("reaped")
    )
    history = write_attempts(queue, stale, literal("stalled"), case((poison, "poison")), why)
    return select(*reaped.c).add_cte(history)


@cache
def end_by_person(queue: Queue) -> Select[Any]:
    """Cancel the rows in :ids that wait or run; clearing the token is the request to stop."""
    rows = queue.rows
    q = rows.alias("q")
    open_rows = one_of(q.c.status, (queue.ready, *queue.held))
    locked = (
        select(*(q.c[name] for name in HISTORY))
        .where(q.c.id == any_(cast(bindparam("ids"), ARRAY(BigInteger()))), open_rows)
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
        .cte("locked")
        .prefix_with("MATERIALIZED")
    )
    why = bindparam("why", type_=Text)
    ended = (
        update(rows)
        .where(rows.c.id == array_of(locked))
        .values(
            status=word(queue.cancel_word),
            failure="cancelled",
            failed_from=word(queue.ready),
            error=why,
            completed_at=CLOCK,
            updated_at=CLOCK,
            **cleared_lease(),
        )
        .returning(rows.c.id)
        .cte("ended")
    )
    history = write_attempts(queue, locked, literal("cancelled"), literal("cancelled"), why)
    return select(ended.c.id).add_cte(history)


@cache
def enter(queue: Queue) -> ReturningUpdate[Any]:
    """Make the rows in :ids that rest in one of :statuses ready, to go on after :step.

    A failed row enters only if its failure is one of :failures and it failed in this queue.
    """
    rows = queue.rows
    q = rows.alias("q")
    locked = (
        select(q.c.id)
        .where(
            q.c.id == any_(cast(bindparam("ids"), ARRAY(BigInteger()))),
            q.c.status == any_(cast(bindparam("statuses"), ARRAY(Text()))),
            one_of(q.c.status, queue.ended),
            or_(
                q.c.failure.is_(None),
                and_(
                    q.c.failed_from == word(queue.ready),
                    q.c.failure == any_(cast(bindparam("failures"), ARRAY(Text()))),
                ),
            ),
        )
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
        .cte("locked")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(rows)
        .where(rows.c.id == array_of(locked))
        .values(
            status=word(queue.ready),
            step=bindparam("step", type_=Text),
            attempts=0,
            stalls=0,
            failure=null(),
            failed_from=null(),
            error=null(),
            available_at=func.now(),
            completed_at=null(),
            updated_at=CLOCK,
        )
        .returning(rows.c.id)
    )


@cache
def try_reaper_lock(table: str) -> Select[Any]:
    """One reaper a table at a time; the lock only saves work, the statement is idempotent."""
    return select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"reap {table}", 0)))


FENCED_TRANSACTION = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :ttl_ms, true),"
    " set_config('statement_timeout', :ttl_ms, true)"
)
"""A worker frozen inside a fenced transaction must not pin its row for ever."""
