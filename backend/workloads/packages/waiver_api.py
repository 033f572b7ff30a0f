"""The waiver API: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint, current_app, g

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, Forbidden, Malformed, NotFound, Unsupported
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.schemas import ById, Page
from backend.workloads.packages.service import LAST
from backend.workloads.packages.waivers import schemas as shapes
from backend.workloads.packages.waivers import service
from backend.workloads.packages.waivers.flags import flags

waiver_bp = Blueprint("waivers", __name__, url_prefix="/api/waivers")


def _wake() -> None:
    """Tell the workers, after the commit."""
    current_app.extensions["lockkeeper"].ready(VETTING_QUEUE.name)


@waiver_bp.get("")
@requires(Role.APPROVER)
@operation()
def waivers(query: shapes.WaiversIn) -> shapes.WaiversOut:
    """Every waiver there ever was, newest first."""
    with transaction() as session:
        found = service.listed(session, name=query.name, before=query.before, limit=query.limit + 1)
        return shapes.WaiversOut.of(found, query.limit)


@waiver_bp.get("/<id>")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def waiver(path: ById) -> shapes.WaiverDetail:
    """One waiver, and the packages whose verdicts rest on it."""
    with transaction() as session:
        return shapes.WaiverDetail.of(*service.one(session, path.id))


@waiver_bp.get("/flags")
@requires(Role.APPROVER)
@operation()
def waiver_flags(query: Page) -> shapes.WaiverFlagsOut:
    """Published packages that rest on a waiver which has ended, newest first."""
    found = flags(g.statements, before=query.before or LAST, limit=query.limit + 1)
    return shapes.WaiverFlagsOut.of(found, query.limit)


@waiver_bp.post("")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.CREATED, problems=[Malformed, Unsupported, Forbidden])
def propose_waiver(body: shapes.WaiverIn) -> shapes.WaiverProposedOut:
    """Propose to bear one finding or licence of one package; another admin must second it."""
    with transaction() as session:
        wish = body.wish(service.clock(session))
        return shapes.WaiverProposedOut.of(service.propose(session, wish, by=current_user()))


@waiver_bp.post("/<id>/second")
@requires(Role.ADMIN)
@operation(problems=[NotFound, Forbidden, Conflict])
def second_waiver(path: ById) -> shapes.WaiverSettledOut:
    """Put another admin's waiver into force. No API key may: it is a person's to do."""
    with transaction() as session:
        done = shapes.WaiverSettledOut.of(*service.second(session, path.id, by=current_user()))
    _wake()
    return done


@waiver_bp.post("/<id>/revoke")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Forbidden, Conflict])
def revoke_waiver(path: ById, body: shapes.RevokeIn) -> shapes.WaiverSettledOut:
    """End a waiver at once, or withdraw a proposal; what rested on it is judged again."""
    with transaction() as session:
        done = service.revoke(session, path.id, by=current_user(), reason=body.reason)
        answer = shapes.WaiverSettledOut.of(*done)
    _wake()
    return answer
