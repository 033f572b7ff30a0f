"""Events, deployment clients and inputs of a run's configuration: parse → service → shape."""

from flask import Blueprint

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, Malformed, NotFound, TooLarge, Unsupported
from backend.workloads.splunk import matching_service as service
from backend.workloads.splunk.matching import answers, questions
from backend.workloads.splunk.resolution.schemas import RunPath

bp = Blueprint("splunk_matching", __name__, url_prefix="/v1/runs")

PROBLEMS = (Malformed, NotFound, Conflict, TooLarge, Unsupported)


@bp.post("/<id>/match")
@requires(Role.USER, scope=Scope.READ)
@operation(problems=PROBLEMS)
def match(path: RunPath, body: questions.MatchIn) -> answers.MatchOut:
    """Which settings of props.conf apply to an event, by its source, host and source type."""
    with transaction() as session:
        return service.match(session, path.id, body, current_user())


@bp.post("/<id>/clients")
@requires(Role.USER, scope=Scope.READ)
@operation(problems=PROBLEMS)
def clients(path: RunPath, body: questions.ClientsIn) -> answers.ClientsOut:
    """Which deployment client gets which apps by serverclass.conf, and why."""
    with transaction() as session:
        return service.clients(session, path.id, body, current_user())


@bp.get("/<id>/routes")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def routes(path: RunPath, query: questions.RoutesIn) -> answers.RouteOut:
    """What becomes of an input's events: source type, index, and the outputs that they reach."""
    with transaction() as session:
        return service.route(session, path.id, query, current_user())
