"""The workers that parse, and their tasks: parse → service → shape."""

from flask import Blueprint

from backend.identity.guard import Role, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Malformed, NotFound, Unavailable
from backend.workloads.splunk import runs_service, worker_schemas
from backend.workloads.splunk import worker_service as service
from backend.workloads.splunk.resolution.schemas import RunPath
from backend.workloads.splunk.schemas import RunOut

bp = Blueprint("splunk_worker", __name__, url_prefix="/v1/worker")


@bp.get("/health")
@requires(Role.USER)
@operation(problems=[Unavailable])
def health() -> worker_schemas.HealthOut:
    """The living workers that parse; 503 where there is none.

    The problem document has the same members.
    """
    with transaction() as session:
        return service.health(session)


@bp.get("/tasks/<task_id>")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def task(path: worker_schemas.TaskPath) -> worker_schemas.TaskOut:
    """One parse by its id; that of an earlier parse of the same run is gone."""
    with transaction() as session:
        return service.task(session, path.task_id, current_user())


@bp.get("/runs/<id>/status")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def run_status(path: RunPath) -> RunOut:
    """One run with all its fields."""
    with transaction() as session:
        return runs_service.shown(session, path.id, current_user())


@bp.get("/metrics")
@requires(Role.USER)
@operation()
def metrics() -> worker_schemas.MetricsOut:
    """How the caller's runs went; for admins everybody's."""
    with transaction() as session:
        return service.metrics(session, current_user())
