"""What approvers do over HTTP: decide, publish, recall, deny; and what they look at for it."""

from http import HTTPStatus

from flask import Blueprint, current_app, g

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Forbidden, Malformed, NotFound, Unsupported
from backend.workloads.packages import (
    approval,
    denial,
    package_history,
    recall,
    security_report,
)
from backend.workloads.packages import approval_schemas as shapes
from backend.workloads.packages import history_schemas as told
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.schemas import ById
from backend.workloads.packages.waiting import waiting
from backend.workloads.packages.where_used import where_used

approver_bp = Blueprint("approver", __name__, url_prefix="/api/approver/packages")
decided_bp = Blueprint("decided", __name__, url_prefix="/api/packages")
BLUEPRINTS = (approver_bp, decided_bp)


def _wake(queue: str) -> None:
    """Tell the workers, after the commit."""
    current_app.extensions["lockkeeper"].ready(queue)


@approver_bp.post("/batch-approve")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation()
def batch_approve(body: shapes.ApproveIn) -> shapes.ApprovedOut:
    """Approve packages by the verdicts that were seen; each one by itself, as far as it can be."""
    with transaction() as session:
        decided = approval.approve(
            session, body.package_ids, body.verdict_digests,
            by=current_user(), reason=body.reason, publish=settings().auto_publish,
        )  # fmt: skip
    _wake(PUBLISHING_QUEUE.name)
    return shapes.ApprovedOut.of(decided)


@approver_bp.post("/batch-reject")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation()
def batch_reject(body: shapes.RejectIn) -> shapes.RejectedOut:
    """Reject packages that wait for approval; each one by itself, as far as it can be."""
    with transaction() as session:
        decided = approval.reject(session, body.package_ids, by=current_user(), reason=body.reason)
    return shapes.RejectedOut.of(decided)


@approver_bp.get("/validated")
@requires(Role.APPROVER)
@operation()
def validated(query: shapes.WaitingPage) -> shapes.WaitingOut:
    """Packages that wait for approval, oldest first, with findings and the requests that asked."""
    found = waiting(
        g.statements, by=current_user().id, after=query.after, limit=query.limit + 1,
        request_id=query.request_id,
    )  # fmt: skip
    return shapes.WaitingOut.of(found, query.limit)


@approver_bp.post("/publish/<id>")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(problems=[NotFound, Conflict])
def publish(path: ById) -> shapes.PublishOut:
    """Queue an approved package for publishing, also one whose publishing failed; idempotent."""
    with transaction() as session:
        status = approval.publish(session, path.id, by=current_user())
    _wake(PUBLISHING_QUEUE.name)
    said = "is published" if status == PUBLISHING_QUEUE.done else "is queued for publishing"
    return shapes.PublishOut(
        message=f"Package {path.id} {said}.", package_id=path.id, status=status
    )


@decided_bp.post("/<id>/recall")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(problems=[NotFound, Conflict, Forbidden])
def recall_package(path: ById, body: shapes.ReasonIn) -> shapes.RecallOut:
    """Take back an approval; what is published is taken back from the registry; idempotent."""
    with transaction() as session:
        status = recall.recall(session, path.id, by=current_user(), reason=body.reason)
    _wake(PUBLISHING_QUEUE.name)
    said = "is recalled" if status == "Recalled" else "waits for approval again"
    return shapes.RecallOut(message=f"Package {path.id} {said}.", package_id=path.id, status=status)


@decided_bp.get("/<id>/history")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def history(path: ById) -> told.HistoryOut:
    """Every attempt, scan and decision of one package."""
    return told.HistoryOut.model_validate(package_history.history(g.statements, path.id))


@decided_bp.get("/where-used")
@requires(Role.APPROVER)
@operation(problems=[Malformed])
def used(query: told.WhereUsedIn) -> told.WhereUsedOut:
    """Application, version and path of every use of a package, bundled copies included."""
    found = where_used(g.statements, query.purl, before=query.before, limit=query.limit + 1)
    return told.WhereUsedOut.of(query, found)


@decided_bp.get("/audit")
@requires(Role.APPROVER)
@operation()
def audited(query: told.AuditPage) -> told.AuditOut:
    """Who approved what, newest first, and the request that asked first."""
    found = package_history.approvals(g.statements, before=query.before, limit=query.limit + 1)
    return told.AuditOut.of(found, query.limit)


@decided_bp.get("/<id>/security-scan/status")
@requires(Role.USER)
@operation(problems=[NotFound])
def scan_status(path: ById) -> told.ScanStatus:
    """How the newest scan of one package ended."""
    found = security_report.report(g.statements, path.id, current_user())
    return told.ScanStatus.model_validate(found)


@decided_bp.get("/<id>/security-scan/report")
@requires(Role.USER)
@operation(problems=[NotFound])
def scan_report(path: ById) -> told.ScanReportOut:
    """The newest scan of one package with every finding, and what its sources covered."""
    found = security_report.report(g.statements, path.id, current_user())
    return told.ScanReportOut.model_validate(found)


@decided_bp.post("/<id>/security-scan/trigger")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.ACCEPTED, problems=[NotFound, Conflict, Forbidden])
def scan_again(path: ById) -> told.TriggerOut:
    """Queue one package to be judged anew; an approval that was not published is void by that."""
    with transaction() as session:
        status = security_report.scan_again(session, path.id, by=current_user())
    _wake(VETTING_QUEUE.name)
    message = f"Package {path.id} is queued to be scanned again."
    return told.TriggerOut(message=message, package_id=path.id, status=status)


@decided_bp.get("/denied")
@requires(Role.APPROVER)
@operation()
def denied() -> shapes.DenialsOut:
    """Every denial in force, newest first."""
    with transaction() as session:
        found = denial.in_force(session)
        return shapes.DenialsOut(denied=[shapes.DenialOut.model_validate(one) for one in found])


@decided_bp.post("/denied")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(problems=[Malformed, Unsupported])
def deny(body: shapes.DenyIn) -> shapes.DeniedOut:
    """Deny versions of a package: refuses and recalls at once what is known of them."""
    what, by = denial.parse(body.purl), current_user()
    with transaction() as session:
        denial_id, swept = denial.deny(session, what, by=by, reason=body.reason)
    _wake(PUBLISHING_QUEUE.name)
    return shapes.DeniedOut.of(denial_id, what, swept)


@decided_bp.delete("/denied/<id>")
@requires(Role.ADMIN, scope=Scope.DECIDE)
@operation(problems=[NotFound, Conflict, Forbidden])
def lift(path: ById) -> None:
    """Lift a denial that somebody else made; what it ended is vetted again when it is asked for."""
    with transaction() as session:
        denial.lift(session, path.id, by=current_user())
