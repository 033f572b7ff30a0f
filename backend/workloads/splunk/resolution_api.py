"""The effective configuration of runs: parse → service → shape."""

from flask import Blueprint

from backend.identity.guard import Role, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, Malformed, NotFound, TooLarge
from backend.workloads.splunk import resolution_service as service
from backend.workloads.splunk.resolution import schemas as shapes

bp = Blueprint("splunk_resolution", __name__, url_prefix="/v1/runs")

PROBLEMS = (Malformed, NotFound, Conflict, TooLarge)


@bp.get("/<id>/effective")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def effective(path: shapes.RunPath, query: shapes.EffectiveIn) -> shapes.EffectiveOut:
    """What holds for a conf type in a context: of each key the winner and all that lose."""
    with transaction() as session:
        return service.effective(session, path.id, query, current_user())


@bp.get("/<id>/why")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def why(path: shapes.RunPath, query: shapes.WhyIn) -> shapes.WhyOut:
    """Which file's word on one key holds, which lose, and which are not even read."""
    with transaction() as session:
        return service.why(session, path.id, query, current_user())


@bp.get("/<a>/diff/<b>")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def diff(path: shapes.RunsPath, query: shapes.DiffIn) -> shapes.DiffOut:
    """What changed from run a to run b in effect, however their files look."""
    with transaction() as session:
        return service.diff(session, path, query, current_user())


@bp.get("/<id>/leftovers")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def leftovers(path: shapes.RunPath, query: shapes.LeftoversIn) -> shapes.LeftoversOut:
    """Settings that do nothing: shadowed, repeated, of apps that are off or not there."""
    with transaction() as session:
        return service.left_over(session, path.id, query, current_user())


@bp.get("/<id>/overlaps")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def overlaps(path: shapes.RunPath, query: shapes.OverlapsIn) -> shapes.OverlapsOut:
    """Keys that two apps of a deployment server, or of a cluster manager, set differently."""
    with transaction() as session:
        return service.overlapping(session, path.id, query, current_user())
