"""Snapshots, interactions and debts, and all of one user's data: parse → service → shape."""

from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, current_app

from backend.identity.guard import Role, Scope, current_user, requires
from backend.identity.limits import Rate
from backend.operations import JSON_LINES, operation, settings, transaction
from backend.problems import Conflict, Forbidden, NotFound, TooManyRequests
from backend.queue.wake import cancellation
from backend.workloads.tasks import data_erasure, data_export, data_service, debts_service
from backend.workloads.tasks import data_schemas as shapes
from backend.workloads.tasks.data_model import AriSnapshot, Debt
from backend.workloads.tasks.data_service import DEBTS, INTERACTIONS, SNAPSHOTS
from backend.workloads.tasks.importing import Imported
from backend.workloads.tasks.importing_api import IMPORT_PROBLEMS, IMPORTS, received
from backend.workloads.tasks.lifecycle import TASKS_QUEUE

bp = Blueprint("task_data", __name__, url_prefix="/api/data")

EXPORTS: Final = Rate("task data export", lambda: settings().upload_rate_per_minute)


@bp.get("/ari-snapshots")
@requires(Role.USER)
@operation(problems=[Forbidden])
def snapshots(query: shapes.SnapshotPage) -> shapes.SnapshotsOut:
    """The caller's ARI snapshots, what came last first; for admins everybody's."""
    wanted = [] if query.metric is None else [AriSnapshot.metric == query.metric]
    with transaction() as session:
        page, following = data_service.listed(session, SNAPSHOTS, query, current_user(), *wanted)
    return shapes.SnapshotsOut(
        snapshots=[shapes.SnapshotOut.model_validate(row) for row in page], next=following
    )


@bp.post("/ari-snapshots")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.CREATED, problems=[Forbidden, NotFound, Conflict])
def add_snapshot(body: shapes.SnapshotIn) -> shapes.SnapshotOut:
    """Store one snapshot."""
    with transaction() as session:
        added = data_service.add(session, SNAPSHOTS, body.model_dump(), current_user())
        return shapes.SnapshotOut.model_validate(added)


@bp.post("/ari-snapshots/import")
@requires(Role.USER, scope=Scope.SUBMIT, rate=IMPORTS)
@operation(lines=shapes.SnapshotLine, problems=IMPORT_PROBLEMS)
def import_snapshots(query: shapes.Whose) -> Imported:
    """Store snapshots, one JSON object a line; all or nothing."""
    with received(shapes.SnapshotLine) as staged, transaction() as session:
        return data_service.take(session, SNAPSHOTS, staged, query.user_id, current_user())


@bp.delete("/ari-snapshots/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def remove_snapshot(path: shapes.ById) -> None:
    """Delete one snapshot."""
    with transaction() as session:
        data_service.remove(session, SNAPSHOTS, path.id, current_user())


@bp.get("/interactions")
@requires(Role.USER)
@operation(problems=[Forbidden])
def interactions(query: shapes.InteractionPage) -> shapes.InteractionsOut:
    """The caller's interactions, what came last first; for admins everybody's."""
    with transaction() as session:
        page, following = data_service.listed(session, INTERACTIONS, query, current_user())
    return shapes.InteractionsOut(
        interactions=[shapes.InteractionOut.model_validate(row) for row in page], next=following
    )


@bp.post("/interactions")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.CREATED, problems=[Forbidden, NotFound, Conflict])
def add_interaction(body: shapes.InteractionIn) -> shapes.InteractionOut:
    """Store one interaction."""
    with transaction() as session:
        added = data_service.add(session, INTERACTIONS, body.model_dump(), current_user())
        return shapes.InteractionOut.model_validate(added)


@bp.post("/interactions/import")
@requires(Role.USER, scope=Scope.SUBMIT, rate=IMPORTS)
@operation(lines=shapes.InteractionLine, problems=IMPORT_PROBLEMS)
def import_interactions(query: shapes.Whose) -> Imported:
    """Store interactions, one JSON object a line; all or nothing."""
    with received(shapes.InteractionLine) as staged, transaction() as session:
        return data_service.take(session, INTERACTIONS, staged, query.user_id, current_user())


@bp.delete("/interactions/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def remove_interaction(path: shapes.ById) -> None:
    """Delete one interaction with its debts."""
    with transaction() as session:
        data_service.remove(session, INTERACTIONS, path.id, current_user())


@bp.get("/debts")
@requires(Role.USER)
@operation(problems=[Forbidden])
def debts(query: shapes.DebtPage) -> shapes.DebtsOut:
    """The caller's epistemic debts, what came last first; for admins everybody's."""
    asked = query.model_dump(include=shapes.DEBT_FILTERS, exclude_none=True)
    wanted = [getattr(Debt, name) == value for name, value in asked.items()]
    with transaction() as session:
        page, following = data_service.listed(session, DEBTS, query, current_user(), *wanted)
    return shapes.DebtsOut(
        debts=[shapes.DebtOut.model_validate(row) for row in page], next=following
    )


@bp.post("/debts/<id>/resolve")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound, Conflict])
def resolve_debt(path: shapes.ById, body: shapes.ResolutionIn) -> shapes.DebtOut:
    """Say how a debt was settled."""
    with transaction() as session:
        resolved = debts_service.resolve(session, path.id, body, current_user())
        return shapes.DebtOut.model_validate(resolved)


@bp.post("/debts/<id>/reopen")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def reopen_debt(path: shapes.ById) -> shapes.DebtOut:
    """Take a resolution back."""
    with transaction() as session:
        return shapes.DebtOut.model_validate(debts_service.reopen(session, path.id, current_user()))


@bp.get("/export")
@requires(Role.USER, rate=EXPORTS)
@operation(problems=[Forbidden, NotFound, TooManyRequests], media_type=JSON_LINES)
def export(query: shapes.Whose) -> Response:
    """Everything that is kept about one user, one JSON object a line; `kind` says what it is."""
    with transaction() as session:
        made = data_export.export(session, settings(), query.user_id, current_user())
    answer = Response(made.pieces(), mimetype=JSON_LINES)
    answer.call_on_close(made.file.close)
    answer.content_length = made.size
    answer.headers["Content-Disposition"] = 'attachment; filename="lockkeeper-data.jsonl"'
    return answer


@bp.delete("")
@requires(Role.USER)
@operation(problems=[Forbidden, NotFound])
def delete_all(query: shapes.Whose) -> shapes.DeletedOut:
    """Delete everything that is kept about one user: data, tasks, results, models, schedules.

    It takes a person who signed in, not an API key.
    """
    with transaction() as session:
        deleted = data_erasure.delete_all(session, query.user_id, current_user())
    current_app.extensions["lockkeeper"].ready(cancellation(TASKS_QUEUE.name))
    return deleted
