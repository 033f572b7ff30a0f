"""Tasks: parse → service → shape."""

from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, current_app, request

from backend.identity.guard import Role, Scope, current_user, requires
from backend.identity.limits import Rate
from backend.operations import JSON, operation, settings, transaction
from backend.problems import (
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from backend.queue.wake import cancellation
from backend.workloads.tasks import health as conditions
from backend.workloads.tasks import schemas as shapes
from backend.workloads.tasks import service, submission
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.registry import task_types

bp = Blueprint("tasks", __name__, url_prefix="/api/tasks")

SUBMISSIONS: Final = Rate("task", lambda: settings().task_rate_per_minute)
KEY: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255  # characters
REFUSALS: Final = (Malformed, Forbidden, NotFound, Conflict, TooManyRequests, Unavailable)


@bp.post("")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(status=HTTPStatus.ACCEPTED, problems=REFUSALS)
def submit(body: shapes.TaskIn) -> shapes.SubmittedOut | Response:
    """Queue a task; 202, or 200 where it had been submitted before.

    With the header `Idempotency-Key` (1 to 255 printable ASCII characters) the same request may be
    sent again.
    """
    return _submitted(body, body.task_type)


@bp.post("/ari/aggregate-snapshots")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(status=HTTPStatus.ACCEPTED, problems=REFUSALS)
def aggregate_snapshots(body: shapes.AskIn) -> shapes.SubmittedOut | Response:
    """Queue a task of the type `aggregate_ari_snapshots`."""
    return _submitted(body, "aggregate_ari_snapshots")


@bp.post("/ffe/plan-goal")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(status=HTTPStatus.ACCEPTED, problems=REFUSALS)
def plan_goal(body: shapes.AskIn) -> shapes.SubmittedOut | Response:
    """Queue a task of the type `plan_ffe_goal`."""
    return _submitted(body, "plan_ffe_goal")


@bp.post("/edm/batch-analysis")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(status=HTTPStatus.ACCEPTED, problems=REFUSALS)
def batch_analysis(body: shapes.AskIn) -> shapes.SubmittedOut | Response:
    """Queue a task of the type `edm_batch_analysis`."""
    return _submitted(body, "edm_batch_analysis")


def _submitted(body: shapes.AskIn, task_type: str) -> shapes.SubmittedOut | Response:
    if body.task_type not in (None, task_type):
        raise Malformed(f"Tasks of type {task_type} are submitted here.", code="wrong-task-type")
    ask = body.ask(task_type, _idempotency_key())
    with transaction() as session:
        made = submission.submit(session, settings(), current_user(), ask)
    answer = shapes.SubmittedOut.of(made)
    if made.existing:
        return Response(answer.model_dump_json(), HTTPStatus.OK, mimetype=JSON)
    _tell(TASKS_QUEUE.name)
    return answer


def _idempotency_key() -> str | None:
    key = request.headers.get(KEY)
    if key is not None and not (
        1 <= len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
    ):
        raise Malformed(
            f"{KEY} has 1 to {LONGEST_KEY} printable ASCII characters.", code="idempotency-key"
        )
    return key


def _tell(hint: str) -> None:
    """The workers, after the commit."""
    current_app.extensions["lockkeeper"].ready(hint)


@bp.get("/types")
@requires(Role.USER)
@operation()
def types() -> shapes.TypesOut:
    """Every task type, with what it takes and answers as JSON schemas."""
    caller = current_user()
    return shapes.TypesOut(types=[shapes.TypeOut.of(it, caller) for it in task_types().values()])


@bp.get("/status/<task_id>")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def status(path: shapes.ById) -> shapes.TaskDetail:
    """One task: how far it is, and what came of it."""
    with transaction() as session:
        return service.shown(session, path.task_id, current_user())


@bp.get("/list")
@requires(Role.USER)
@operation(problems=[Malformed])
def tasks(query: shapes.ListIn) -> shapes.TasksOut:
    """The caller's tasks, newest first; for admins everybody's."""
    with transaction() as session:
        return service.listed(
            session, current_user(), query, status=query.status, task_type=query.task_type
        )


@bp.get("/pending")
@requires(Role.USER)
@operation(problems=[Malformed])
def pending(query: shapes.PageIn) -> shapes.TasksOut:
    """Those that wait, newest first."""
    with transaction() as session:
        return service.listed(session, current_user(), query, status=TASKS_QUEUE.ready)


@bp.get("/failed")
@requires(Role.USER)
@operation(problems=[Malformed])
def failed(query: shapes.PageIn) -> shapes.TasksOut:
    """Those that failed, newest first."""
    with transaction() as session:
        return service.listed(session, current_user(), query, status=TASKS_QUEUE.failed)


@bp.get("/health")
@requires(Role.USER)
@operation()
def health() -> shapes.HealthOut:
    """Whether tasks get done: workers, waits, pauses, and what came of attempts lately."""
    with transaction() as session:
        return conditions.health(session)


@bp.delete("/<task_id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, NotFound])
def cancel(path: shapes.ById) -> shapes.CancelledOut:
    """Cancel a task that waits or runs. What runs is stopped within a second or two."""
    with transaction() as session:
        service.cancel(session, path.task_id, current_user())
    _tell(cancellation(TASKS_QUEUE.name))
    return shapes.CancelledOut(
        task_id=path.task_id, status="cancelled", message="It is not done, or done any further."
    )


@bp.post("/<task_id>/retry")
@requires(Role.USER, scope=Scope.SUBMIT, rate=SUBMISSIONS)
@operation(status=HTTPStatus.ACCEPTED, problems=[Malformed, Forbidden, NotFound, TooManyRequests])
def retry(path: shapes.ById) -> shapes.TaskDetail:
    """Have a failed task done again, with all its attempts."""
    with transaction() as session:
        task = service.retry(session, path.task_id, current_user())
    _tell(TASKS_QUEUE.name)
    return task
