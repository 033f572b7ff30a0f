"""Schedules: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint, current_app

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Forbidden, Malformed, NotFound, Unavailable
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.schedules import schemas as shapes
from backend.workloads.tasks.schedules import service
from backend.workloads.tasks.schemas import SubmittedOut
from backend.workloads.tasks.tasks_api import SUBMISSIONS

bp = Blueprint("schedules", __name__, url_prefix="/api/schedules")


@bp.get("")
@requires(Role.USER)
@operation(problems=[Malformed])
def schedules(query: shapes.SchedulesIn) -> shapes.SchedulesOut:
    """The caller's schedules, newest first; for approvers and admins everybody's."""
    with transaction() as session:
        return service.listed(session, current_user(), query)


@bp.post("")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(
    status=HTTPStatus.CREATED, problems=[Malformed, Forbidden, NotFound, Conflict, Unavailable]
)
def add_schedule(body: shapes.ScheduleIn) -> shapes.ScheduleOut:
    """Submit a task by the clock; the caller must be allowed to submit it, now and each time."""
    with transaction() as session:
        return service.create(session, settings(), body, current_user())


@bp.get("/<id>")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def schedule(path: shapes.ById) -> shapes.ScheduleDetail:
    """One schedule, its next times, and how many of the last 90 days' fired."""
    with transaction() as session:
        return service.detail(session, path.id, current_user())


@bp.get("/<id>/fires")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def schedule_fires(path: shapes.ById, query: shapes.FiresIn) -> shapes.FiresOut:
    """What came of each time of a schedule, the latest first."""
    with transaction() as session:
        return service.fires(session, path.id, current_user(), query)


@bp.patch("/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, Forbidden, NotFound, Unavailable])
def change_schedule(path: shapes.ById, body: shapes.ScheduleChange) -> shapes.ScheduleOut:
    """Change a schedule; what is left out stays. New times begin now."""
    with transaction() as session:
        return service.change(session, settings(), path.id, body, current_user())


@bp.delete("/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, NotFound])
def remove_schedule(path: shapes.ById) -> None:
    """Remove a schedule; its tasks stay."""
    with transaction() as session:
        service.remove(session, path.id, current_user())


@bp.post("/<id>/pause")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, NotFound])
def pause_schedule(path: shapes.ById) -> shapes.ScheduleOut:
    """Fire no more, until it is resumed. Pausing again changes nothing."""
    with transaction() as session:
        return service.pause(session, path.id, current_user())


@bp.post("/<id>/resume")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, NotFound])
def resume_schedule(path: shapes.ById) -> shapes.ScheduleOut:
    """Fire again from now on; what was due meanwhile is not made up."""
    with transaction() as session:
        return service.resume(session, path.id, current_user())


@bp.post("/<id>/run")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(
    status=HTTPStatus.ACCEPTED, problems=[Malformed, Forbidden, NotFound, Conflict, Unavailable]
)
def run_schedule(path: shapes.ById) -> SubmittedOut:
    """Submit its task now, in its owner's name; its times stay as they are."""
    with transaction() as session:
        made = service.run(session, settings(), path.id, current_user())
    current_app.extensions["lockkeeper"].ready(TASKS_QUEUE.name)
    return SubmittedOut.of(made)
