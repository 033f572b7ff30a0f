"""Runs as a whole: parse → service → shape."""

from http import HTTPStatus
from typing import Final

from flask import Blueprint, current_app

from backend.identity.guard import Role, Scope, current_user, requires
from backend.identity.limits import Rate
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Malformed, NotFound, TooManyRequests
from backend.storage.configured import blobs_of
from backend.workloads.splunk import runs_schemas as shapes
from backend.workloads.splunk import runs_service as service
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.ownership import run_of
from backend.workloads.splunk.resolution.schemas import RunPath
from backend.workloads.splunk.schemas import RunOut

bp = Blueprint("splunk_runs", __name__, url_prefix="/v1/runs")

PARSES: Final = Rate("splunk parse", lambda: settings().upload_rate_per_minute)


@bp.get("")
@requires(Role.USER)
@operation(problems=[Malformed])
def runs(query: shapes.RunsIn) -> shapes.RunsOut:
    """The caller's runs, newest first; for admins everybody's."""
    with transaction() as session:
        return service.listed(session, query, current_user())


@bp.get("/<id>")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def run(path: RunPath) -> RunOut:
    """One run with all its fields."""
    with transaction() as session:
        return service.shown(session, path.id, current_user())


@bp.delete("/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[Malformed, NotFound, Conflict])
def remove(path: RunPath) -> None:
    """Delete a run with its archive, its files and its stanzas."""
    with transaction() as session:
        blob_key = service.remove(session, path.id, current_user())
    service.discard(blobs_of(settings()), blob_key)


@bp.get("/<id>/status")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def status(path: RunPath) -> shapes.StatusOut:
    """How far a run is: to be asked again and again."""
    with transaction() as session:
        return shapes.StatusOut.of(run_of(session, path.id, current_user()))


@bp.get("/<id>/parse-status")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def parse_status(path: RunPath) -> shapes.StatusOut:
    """The same as status."""
    with transaction() as session:
        return shapes.StatusOut.of(run_of(session, path.id, current_user()))


@bp.get("/<id>/summary")
@requires(Role.USER)
@operation(problems=[Malformed, NotFound])
def summary(path: RunPath) -> shapes.SummaryOut:
    """What was found in a run, counted: files, stanzas, warnings, skips."""
    with transaction() as session:
        return service.summary(session, path.id, current_user())


@bp.post("/<id>/parse")
@requires(Role.USER, scope=Scope.SUBMIT, rate=PARSES)
@operation(status=HTTPStatus.ACCEPTED, problems=[Malformed, NotFound, Conflict, TooManyRequests])
def parse(path: RunPath, query: shapes.ParseIn, body: shapes.ParseIn) -> shapes.ParseOut:
    """Queue a run that failed, or with force one that is complete, to be parsed again.

    `force` may stand in the query or in the body. A run that waits or is parsed is left alone.
    """
    force = query.force or body.force
    with transaction() as session:
        found, accepted = service.parse(session, path.id, current_user(), force=force)
        answer = shapes.ParseOut.told(found, accepted=accepted)
    if accepted:
        current_app.extensions["lockkeeper"].ready(SPLUNK_QUEUE.name)
    return answer
