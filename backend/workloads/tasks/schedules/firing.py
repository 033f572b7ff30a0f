"""Schedules that are due submit their tasks: each of their times is dealt with exactly once.

Any worker may do it, at any moment, and die in the middle: one transaction takes a schedule, says
what came of each time that is past, submits what is to be submitted, and moves the schedule on. The
primary key of ``schedule_fires`` (schedule, time) lets no time be dealt with twice; the lock on the
schedule only saves the others the work.

Time is the database's clock. Where it was put back, nothing that was dealt with comes round again,
but for times that had been skipped: nobody had done anything for them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Final
from zoneinfo import ZoneInfoNotFoundError

import structlog
from cronsim import CronSimError
from sqlalchemy import delete, insert, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions
from backend.problems import Problem, Unavailable
from backend.queue.duty import Duty
from backend.settings import Settings
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.schedules.catching_up import Turn, turn
from backend.workloads.tasks.schedules.clock import clock
from backend.workloads.tasks.schedules.cron import Cron
from backend.workloads.tasks.schedules.model import Schedule, ScheduleFire
from backend.workloads.tasks.schedules.submitting import submit

log = structlog.get_logger(__name__)

KEPT: Final = timedelta(days=90)
"""How long it is known what came of a schedule's times."""
PAGE: Final = 100
"""Schedules that one statement finds, and of those behind a clock that was put back as many."""
ROUNDS: Final = 50
"""Pages of one look: each turns once to a schedule that has many times to make up."""

_NOW: Final = "coalesce(%(now)s::timestamptz, now())"
# Each half walks along its own index whatever the planner believes: a plan that is kept knows
# neither the moment nor the statistics of today.
_DUE: Final = Statement(
    f"""
SELECT ARRAY(
  (SELECT id FROM schedules WHERE next_fire_at <= {_NOW} AND id <> ALL (%(done)s::bigint[])
   ORDER BY next_fire_at LIMIT {PAGE})
  UNION
  (SELECT id FROM schedules
   WHERE next_fire_at IS NOT NULL AND moved_at > {_NOW} AND id <> ALL (%(done)s::bigint[])
   ORDER BY moved_at DESC LIMIT {PAGE})
) AS ids
""",  # noqa: S608 - constants of this module
    kind="schedules_due",
)
DUE: Final = """
(SELECT min(next_fire_at) FROM schedules) <= now()
OR (SELECT max(moved_at) FROM schedules WHERE next_fire_at IS NOT NULL) > now()
"""
"""A condition in SQL: whether any schedule is due."""


@dataclass(frozen=True, slots=True)
class Fired:
    """How many times of schedules were dealt with; ``more`` are due still."""

    submitted: int = 0
    waiting: int = 0
    refused: int = 0
    skipped: int = 0
    more: bool = False


def duties(settings: Settings) -> list[Duty]:
    """What every worker does: whichever looks first fires what is due."""
    return [Duty(name="schedules", run=partial(fire_due, settings=settings), due=DUE)]


def fire_due(
    sessions: Sessions, statements: Autocommit, settings: Settings, *, now: datetime | None = None
) -> Collection[str]:
    """Fire every schedule that is due, the most overdue first: one statement where there is none.

    Args:
        sessions: for a transaction of each schedule.
        statements: to find them.
        settings: of tasks.
        now: instead of the database's clock.

    Returns:
        Names of the queues in which rows became ready.
    """
    ready: set[str] = set()
    done: list[int] = []
    for _ in range(ROUNDS):
        (page,) = statements.rows(_DUE, {"now": now, "done": done})
        fired = {it: _one(sessions, settings, it, now) for it in page.ids}
        done += [it for it, what in fired.items() if not what.more]
        if any(it.submitted for it in fired.values()):
            ready.add(TASKS_QUEUE.name)
        if len(page.ids) < PAGE and not any(it.more for it in fired.values()):
            break
    return ready


def _one(sessions: Sessions, settings: Settings, schedule_id: int, now: datetime | None) -> Fired:
    """One schedule: what is wrong with it is no other's misfortune, and is tried again."""
    try:
        with sessions.begin() as session:
            fired = fire(session, settings, schedule_id, now=now)
    except Unavailable as error:  # another worker may have the key
        log.warning("schedule.not_fired", schedule=schedule_id, reason=error.detail)
        return Fired()
    except (ZoneInfoNotFoundError, CronSimError) as error:  # another release may know it
        log.warning("schedule.not_fired", schedule=schedule_id, reason=type(error).__name__)
        return Fired()
    except DBAPIError:
        raise
    except Exception:  # a fault of ours, or of its type's
        log.exception("schedule.broken", schedule=schedule_id)
        return Fired()
    if fired != Fired():
        log.info(
            "schedule.fired", schedule=schedule_id, submitted=fired.submitted,
            waiting=fired.waiting, refused=fired.refused, skipped=fired.skipped,
        )  # fmt: skip
    return fired


def fire(
    session: Session, settings: Settings, schedule_id: int, *, now: datetime | None = None
) -> Fired:
    """Deal with the times of one schedule that are past, at most ``AT_ONCE`` of them.

    Nothing is done where another worker is at it, or was. Commits nothing.

    Raises:
        Unavailable: its tasks are sealed, and this process has no TASK_KEY.
        ZoneInfoNotFoundError, CronSimError: this release cannot tell when it is due.
    """
    taken = _take(session, schedule_id, now)
    if taken is None:
        return Fired()
    schedule, moment = taken
    assert schedule.next_fire_at is not None  # else it is not taken
    cron = Cron(schedule.cron, schedule.timezone)
    if schedule.moved_at > moment:
        _put_back(session, schedule, moment, cron)
        if schedule.next_fire_at is None or schedule.next_fire_at > moment:
            return Fired()
    times = chain((schedule.next_fire_at,), cron.after(schedule.next_fire_at))
    plan = turn(times, moment, schedule.catch_up, known=_known(session, schedule))
    outcomes = _deal(session, settings, schedule, moment, plan)
    schedule.next_fire_at, schedule.moved_at = plan.following, moment
    schedule.last_fired_at = max(plan.fired, default=schedule.last_fired_at)
    _forget(session, schedule, moment)
    counts = {word: outcomes.count(word) for word in ("submitted", "waiting", "refused")}
    return Fired(**counts, skipped=len(plan.skipped), more=plan.more)


def _take(
    session: Session, schedule_id: int, now: datetime | None
) -> tuple[Schedule, datetime] | None:
    """The schedule, locked, and what time it is; None where it is not due any more.

    The clock that runs, and not the one of the transaction: what another worker has just done is
    seen once its lock is gone, and would lie in this transaction's future.
    """
    moment = clock(now)
    due = Schedule.next_fire_at.is_not(None) & or_(
        Schedule.next_fire_at <= moment, Schedule.moved_at > moment
    )
    taken = session.execute(
        select(Schedule, moment)
        .where(Schedule.id == schedule_id, due)
        .with_for_update(key_share=True, skip_locked=True)
    ).one_or_none()
    return (taken[0], taken[1]) if taken else None


def _put_back(session: Session, schedule: Schedule, moment: datetime, cron: Cron) -> None:
    """The clock went back: go on from what it says now; what was skipped comes round again.

    What was still to be made up remains so.
    """
    skipped = ScheduleFire.schedule_id == schedule.id, ScheduleFire.outcome == "skipped"
    session.execute(delete(ScheduleFire).where(*skipped, ScheduleFire.fire_at > moment))
    again = next(cron.after(moment), None)
    schedule.next_fire_at = min(filter(None, (schedule.next_fire_at, again)), default=None)
    schedule.moved_at = moment
    log.warning("schedule.clock_put_back", schedule=schedule.id)


def _known(session: Session, schedule: Schedule) -> set[datetime]:
    """Times that were dealt with already, although they are to come: the clock was put back."""
    ahead = ScheduleFire.fire_at >= schedule.next_fire_at
    of_this = ScheduleFire.schedule_id == schedule.id
    return set(session.scalars(select(ScheduleFire.fire_at).where(of_this, ahead)))


def _deal(
    session: Session, settings: Settings, schedule: Schedule, moment: datetime, plan: Turn
) -> Sequence[str]:
    """Note what came of each time, after submitting what is to be submitted; answers that."""
    same = {"schedule_id": schedule.id, "fired_at": moment, "task_row": None, "reason": None}
    rows: list[dict[str, Any]] = [
        {**same, "fire_at": time, "outcome": "skipped"} for time in plan.skipped
    ]
    made = [{**same, "fire_at": time, **_made(session, settings, schedule)} for time in plan.fired]
    if rows or made:
        session.execute(insert(ScheduleFire), rows + made)
    return [row["outcome"] for row in made]


def _made(session: Session, settings: Settings, schedule: Schedule) -> dict[str, Any]:
    try:
        with session.begin_nested():
            done = submit(session, settings, schedule)  # refused, it has written nothing
    except Unavailable:
        raise
    except Problem as problem:
        return {"outcome": "refused", "reason": problem.detail}
    return {"outcome": "waiting" if done.existing else "submitted", "task_row": done.row_id}


def _forget(session: Session, schedule: Schedule, moment: datetime) -> None:
    of_this = ScheduleFire.schedule_id == schedule.id
    session.execute(delete(ScheduleFire).where(of_this, ScheduleFire.fire_at < moment - KEPT))
