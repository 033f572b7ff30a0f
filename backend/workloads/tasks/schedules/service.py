"""Schedules: made, shown, changed, paused, run at once. Commits nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal, Role
from backend.problems import Conflict, NotFound
from backend.settings import Settings
from backend.workloads.tasks import subjects
from backend.workloads.tasks.asking import Ask, understood
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.schedules import schemas as shapes
from backend.workloads.tasks.schedules import submitting
from backend.workloads.tasks.schedules.clock import clock
from backend.workloads.tasks.schedules.cron import Cron
from backend.workloads.tasks.schedules.model import Schedule, ScheduleFire
from backend.workloads.tasks.sealing import seal
from backend.workloads.tasks.submission import Submitted

MOST: Final = 100
"""Schedules that one user may have."""
UPCOMING: Final = 5


def create(
    session: Session, settings: Settings, wish: shapes.ScheduleIn, by: Principal
) -> shapes.ScheduleOut:
    """Make a schedule of the caller's.

    Raises:
        Malformed: ``invalid-cron``, ``unknown-timezone``, or what is said against such a task.
        Forbidden, NotFound: they may not submit such a task.
        Conflict: ``name-taken``, ``too-many-schedules``.
        Unavailable: ``task-key-missing``.
    """
    now = _now(session)
    cron = Cron.checked(wish.cron, wish.timezone, now=now)
    _demand_room(session, by)
    same = wish.model_dump(exclude={"parameters", "user_id", "cron", "timezone", "paused"})
    statement = insert(Schedule).values(
        **same,
        **_asked(session, settings, wish, by),
        created_by=by.id,
        cron=cron.expression,
        timezone=cron.timezone,
        next_fire_at=None if wish.paused else next(cron.after(now)),
    )
    made = session.scalar(statement.on_conflict_do_nothing().returning(Schedule))
    if made is None:
        raise Conflict(f"You have a schedule {wish.name} already.", code="name-taken")
    _note(session, by, "created", made, task_type=made.task_type, cron=made.cron)
    return _shown(made, by)


def listed(session: Session, by: Principal, page: shapes.SchedulesIn) -> shapes.SchedulesOut:
    """Newest first."""
    wanted = select(Schedule).where(_visible_to(by)).order_by(Schedule.id.desc())
    if page.name is not None:
        wanted = wanted.where(Schedule.name == page.name)
    if page.before is not None:
        wanted = wanted.where(Schedule.id < page.before)
    found = session.scalars(wanted.limit(page.limit + 1))
    return shapes.SchedulesOut.of([_shown(it, by) for it in found], page.limit)


def detail(session: Session, schedule_id: int, by: Principal) -> shapes.ScheduleDetail:
    """One schedule, with its next times and what came of earlier ones. Raises NotFound."""
    schedule = _one(session, schedule_id, _visible_to(by))
    count = (
        select(ScheduleFire.outcome, func.count().label("count"))
        .where(ScheduleFire.schedule_id == schedule.id)
        .group_by(ScheduleFire.outcome)
    )
    return shapes.ScheduleDetail(
        **_shown(schedule, by).model_dump(),
        upcoming=_upcoming(schedule),
        outcomes={row.outcome: row.count for row in session.execute(count)},
    )


def fires(
    session: Session, schedule_id: int, by: Principal, page: shapes.FiresIn
) -> shapes.FiresOut:
    """What came of its times, the latest first. Raises NotFound."""
    schedule = _one(session, schedule_id, _visible_to(by))
    wanted = (
        select(
            ScheduleFire.fire_at, ScheduleFire.fired_at, ScheduleFire.outcome, ScheduleFire.reason,
            Task.task_id, Task.status.label("task_status"),
        )
        .outerjoin(Task, Task.id == ScheduleFire.task_row)
        .where(ScheduleFire.schedule_id == schedule.id)
        .order_by(ScheduleFire.fire_at.desc())
    )  # fmt: skip
    if page.before is not None:
        wanted = wanted.where(ScheduleFire.fire_at < page.before)
    found = session.execute(wanted.limit(page.limit + 1))
    return shapes.FiresOut.of([shapes.FireOut.model_validate(it) for it in found], page.limit)


def change(
    session: Session,
    settings: Settings,
    schedule_id: int,
    wish: shapes.ScheduleChange,
    by: Principal,
) -> shapes.ScheduleOut:
    """Change what is given; other times begin now. Raises as :func:`create`, and NotFound."""
    schedule = _held(session, schedule_id, by)
    given = wish.model_dump(exclude_none=True)
    if "parameters" in given:
        _reparameterize(session, settings, schedule, given.pop("parameters"))
    cron = {"expression": schedule.cron, "timezone": schedule.timezone}
    times = {"expression": given.pop("cron", None), "timezone": given.pop("timezone", None)}
    wanted = cron | {name: value for name, value in times.items() if value is not None}
    if wanted != cron:
        checked = Cron.checked(**wanted, now=_now(session))
        schedule.cron, schedule.timezone = checked.expression, checked.timezone
        if schedule.next_fire_at is not None:
            _go_on(session, schedule)
    for name, value in given.items():
        setattr(schedule, name, value)
    return _changed(session, schedule, by, "changed", fields=sorted(wish.model_fields_set))


def pause(session: Session, schedule_id: int, by: Principal) -> shapes.ScheduleOut:
    """Fire no more; again changes nothing. Raises NotFound."""
    schedule = _held(session, schedule_id, by)
    if schedule.next_fire_at is None:
        return _shown(schedule, by)
    schedule.next_fire_at = None
    return _changed(session, schedule, by, "paused")


def resume(session: Session, schedule_id: int, by: Principal) -> shapes.ScheduleOut:
    """Fire from now on: what was due meanwhile is not made up. Raises NotFound."""
    schedule = _held(session, schedule_id, by)
    if schedule.next_fire_at is not None:
        return _shown(schedule, by)
    _go_on(session, schedule)
    return _changed(session, schedule, by, "resumed")


def run(session: Session, settings: Settings, schedule_id: int, by: Principal) -> Submitted:
    """Submit its task now, in its owner's name; its times stay as they are.

    Raises:
        NotFound: there is no such schedule.
        Problem: its owner may not, see :func:`submitting.submit`.
    """
    schedule = _held(session, schedule_id, by)
    made = submitting.submit(session, settings, schedule)
    _note(session, by, "run", schedule, task_id=str(made.task_id))
    return made


def remove(session: Session, schedule_id: int, by: Principal) -> None:
    """Its tasks stay. Raises NotFound."""
    schedule = _held(session, schedule_id, by)
    _note(session, by, "removed", schedule, name=schedule.name)
    session.delete(schedule)


def _visible_to(by: Principal) -> ColumnElement[bool]:
    return literal(True) if by.may(Role.APPROVER) else Schedule.created_by == by.id


def _held(session: Session, schedule_id: int, by: Principal) -> Schedule:
    """One that the caller may act on, locked: it does not fire meanwhile."""
    mine = literal(True) if by.may(Role.ADMIN) else Schedule.created_by == by.id
    return _one(session, schedule_id, mine, lock=True)


def _one(
    session: Session, schedule_id: int, which: ColumnElement[bool], *, lock: bool = False
) -> Schedule:
    wanted = select(Schedule).where(Schedule.id == schedule_id, which)
    found = session.scalar(wanted.with_for_update(key_share=True) if lock else wanted)
    if found is None:
        raise NotFound(f"There is no schedule {schedule_id}, or it is somebody else's.")
    return found


def _demand_room(session: Session, by: Principal) -> None:
    """One at a time for each user."""
    subjects.hold(session, by.id)
    theirs = select(func.count()).select_from(Schedule).where(Schedule.created_by == by.id)
    if session.scalars(theirs).one() >= MOST:
        raise Conflict(f"You have {MOST} schedules: remove one first.", code="too-many-schedules")


def _asked(
    session: Session, settings: Settings, wish: shapes.ScheduleIn, by: Principal
) -> dict[str, Any]:
    """Columns of what is to be submitted, which the caller may submit now."""
    ask = Ask(task_type=wish.task_type, user_id=wish.user_id, parameters=wish.parameters)
    wanted = understood(session, by, ask)
    return {"user_id": wanted.user_id, **_stored(settings, wanted.kind.sealed, wish.parameters)}


def _stored(settings: Settings, sealed: bool, parameters: dict[str, Any]) -> dict[str, Any]:
    """As they were given, so that what was left out is as its type has it on the day."""
    kept = {name: value for name, value in parameters.items() if name != "user_id"}
    return {"sealed": seal(settings, kept)} if sealed else {"parameters": kept}


def _reparameterize(
    session: Session, settings: Settings, schedule: Schedule, parameters: dict[str, Any]
) -> None:
    ask = Ask(task_type=schedule.task_type, user_id=schedule.user_id, parameters=parameters)
    wanted = understood(session, submitting.owner(session, schedule), ask)
    stored = _stored(settings, wanted.kind.sealed, parameters)
    schedule.parameters, schedule.sealed = stored.get("parameters"), stored.get("sealed")


def _go_on(session: Session, schedule: Schedule) -> None:
    now = _now(session)
    schedule.next_fire_at = next(Cron(schedule.cron, schedule.timezone).after(now))
    schedule.moved_at = now


def _upcoming(schedule: Schedule) -> Sequence[datetime]:
    if schedule.next_fire_at is None:
        return []
    cron = Cron(schedule.cron, schedule.timezone)
    return [schedule.next_fire_at, *cron.upcoming(schedule.next_fire_at, UPCOMING - 1)]


def _changed(
    session: Session, schedule: Schedule, by: Principal, deed: str, **said: Any
) -> shapes.ScheduleOut:
    schedule.updated_at = _now(session)
    _note(session, by, deed, schedule, **said)
    return _shown(schedule, by)


def _note(session: Session, by: Principal, deed: str, schedule: Schedule, **said: Any) -> None:
    audit.record(session, by, f"schedule.{deed}", f"schedule:{schedule.id}", **said)


def _now(session: Session) -> datetime:
    return session.scalars(select(clock())).one()


def _shown(schedule: Schedule, by: Principal) -> shapes.ScheduleOut:
    theirs = by.may(Role.ADMIN) or schedule.created_by == by.id
    columns = set(shapes.ScheduleOut.model_fields) - {"parameters", "paused"}
    return shapes.ScheduleOut(
        **{name: getattr(schedule, name) for name in columns},
        parameters=schedule.parameters if theirs else None,
        paused=schedule.next_fire_at is None,
    )
