"""The end of an attempt: settle, reap, cancel; and the way back to ready."""

from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
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
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import CTE, Select

from backend.db import unnest
from backend.queue.claimable import Timestamp
from backend.queue.fleet import Worker
from backend.queue.lifecycle import SUSPECT_STALLS, Queue
from backend.queue.sql.blocks import (
    CLOCK,
    HISTORY,
    PLACE,
    Columns,
    array_of,
    assigned,
    cleared_lease,
    one_of,
    place,
    word,
    write_attempts,
)


@cache
def settle(queue: Queue, *, wait: bool = True) -> Select[Any]:
    """End the attempts in ``ends_*``, one statement for a whole batch, history included.

    Rows are locked in the order of their ids first: two batches that share rows would deadlock
    within seconds otherwise. Answers the ids that were still mine; unless told to ``wait``, only of
    rows that nobody else has locked.
    """
    settled, history = end(queue, wait=wait)
    return select(settled.c.id).add_cte(history)


@cache
def settle_alone(queue: Queue, columns: Columns = ()) -> Select[Any]:
    """:func:`settle` for the one row ``row_id``, with its domain's own ``columns``.

    ``finished_step`` is its last step by now, and attempts are counted from there: steps before
    the last may be stored only here.
    """
    settled, history = end(queue, wait=True, alone=True, columns=columns)
    return select(settled.c.id).add_cte(history)


def end(queue: Queue, *, wait: bool, alone: bool = False, columns: Columns = ()) -> tuple[CTE, CTE]:
    """What :func:`settle` is made of: the settled rows and their lines of history."""
    rows = queue.rows
    ends = unnest(
        "ends", id=BigInteger(), token=Uuid(), status=Text(), outcome=Text(), failure=Text(),
        error=Text(), delay=Interval(), attempts=SmallInteger(), stalls=SmallInteger(),
        restart=Boolean(),
    )  # fmt: skip
    q = rows.alias("q")
    asked = [ends.c[n].label(f"to_{n}") for n in ("status", "outcome", "failure", "error",
             "delay", "attempts", "stalls", "restart")]  # fmt: skip
    found: dict[str, ColumnElement[Any]] = {name: q.c[name] for name in HISTORY}
    if not wait:
        found[PLACE] = place(q)
    if alone:
        found["step"] = bindparam("finished_step", type_=Text).label("step")
        found["attempts"] = ends.c.attempts.label("attempts")
    mine = (
        select(*found.values(), *asked)
        .join(ends, and_(q.c.id == ends.c.id, q.c.lease_token == ends.c.token))
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
    )
    if alone:  # by the primary key, whatever the planner thinks of arrays
        mine = mine.where(q.c.id == bindparam("row_id", type_=BigInteger))
    if not wait:
        mine = mine.with_for_update(key_share=True, skip_locked=True, of=q)
    locked = mine.cte("locked").prefix_with("MATERIALIZED")
    said = ("to_outcome", "to_failure", "to_error")
    to_ready = locked.c.to_status == word(queue.ready)
    # One that was waited for may have been written meanwhile: it is found by its id alone.
    here = rows.c.id == locked.c.id if wait else place(rows) == locked.c[PLACE]
    settled = (
        update(rows)
        .where(here)
        .values(
            status=locked.c.to_status,
            available_at=case(
                (locked.c.to_delay.is_not(None), CLOCK + locked.c.to_delay),
                else_=rows.c.available_at,
            ),
            attempts=locked.c.to_attempts,
            stalls=locked.c.to_stalls,
            rewinds=case(
                (locked.c.to_restart, rows.c.rewinds + 1),
                (locked.c.to_outcome == "done", 0),
                else_=rows.c.rewinds,
            ),
            step=case((~locked.c.to_restart, locked.c.step)),
            failure=locked.c.to_failure,
            failed_from=case((locked.c.to_failure.is_not(None), word(queue.ready))),
            error=locked.c.to_error,
            completed_at=case((~to_ready, CLOCK)),
            updated_at=CLOCK,
            **cleared_lease(),
            **assigned(columns),
        )
        .returning(*(locked.c[name] for name in (*HISTORY, *said)))
        .cte("settled")
    )
    return settled, write_attempts(queue, settled, *(settled.c[name] for name in said))


@cache
def reap(queue: Queue) -> Select[Any]:
    """Take back stalled rows: lease expired, or no progress for longer than :horizons allow.

    Idempotent and never waiting: the horizon is re-checked on the locked row version, and what
    somebody else has locked is somebody else's. An outage blames nobody: nothing is reaped
    until the server has been up for one lease time.
    """
    rows = queue.rows
    q = rows.alias("q")
    stale = (
        stalled(queue, q)
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


def stalled(queue: Queue, q: Any, name: str = "horizons") -> Select[Any]:
    """What :func:`reap` would take back now: rows of ``q``, an alias of the queue's table.

    ``name`` is that of the parameters which :func:`reap` calls ``horizons``.
    """
    horizons = unnest(name, status=Text(), longest=Interval())
    longest = select(horizons.c.longest).where(horizons.c.status == q.c.status).scalar_subquery()
    return (
        select(*(q.c[name] for name in HISTORY))
        .where(
            one_of(q.c.status, queue.held),
            or_(q.c.lease_expires_at < CLOCK, q.c.progressed_at < CLOCK - longest),
            func.pg_postmaster_start_time() < CLOCK - bindparam("ttl", type_=Interval),
            may_judge(),
        )
        .order_by(q.c.id)
    )


def may_judge() -> ColumnElement[bool]:
    """Whether :reaper, where one is named, has been in steady contact for :ttl, to :late ago.

    By the database's clock and in the statement itself: after an outage, a frozen server or a
    machine that slept, everybody is late, and nobody is to blame.
    """
    reaper, ttl = bindparam("reaper", type_=Text), bindparam("ttl", type_=Interval)
    steady = exists(
        select(literal(1)).where(
            Worker.name == reaper,
            Worker.steady_since < CLOCK - ttl,
            Worker.heartbeat_at > CLOCK - bindparam("late", type_=Interval),
        )
    )
    return or_(reaper.is_(None), steady)


@cache
def end_by_person(queue: Queue) -> Select[Any]:
    """Cancel the rows in :ids that wait or run; clearing the token is the request to stop.

    Rows under a word that the queue calls uncancellable are left alone.
    """
    rows = queue.rows
    q = rows.alias("q")
    open_rows = one_of(q.c.status, queue.cancellable)
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

    A failed row enters only if its failure is one of :failures and it failed in this queue; any
    row only if it ended before :ended_before. With :stalls it enters as a suspect.
    """
    rows = queue.rows
    q = rows.alias("q")
    locked = (
        select(q.c.id)
        .where(
            q.c.id == any_(cast(bindparam("ids"), ARRAY(BigInteger()))),
            q.c.status == any_(cast(bindparam("statuses"), ARRAY(Text()))),
            one_of(q.c.status, queue.ended),
            q.c.completed_at < bindparam("ended_before", type_=Timestamp),
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
            stalls=bindparam("stalls", type_=SmallInteger),
            rewinds=0,
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
