"""The packages API: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint, Response, current_app, g

from backend.identity.guard import (
    Principal,
    Reading,
    Role,
    Scope,
    current_user,
    found,
    joint,
    requires,
)
from backend.identity.limits import Rate
from backend.operations import JSON, UploadedFile, operation, settings, transaction
from backend.problems import (
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unsupported,
)
from backend.settings import Settings
from backend.workloads.packages import (
    approval_api,
    configuration,
    evidence_api,
    licence_admin,
    revetting,
    schemas,
    service,
    service_sql,
    submission,
)
from backend.workloads.packages.advisories import api as advisories_api
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.lockfile import ParsedLock, parse_lock
from backend.workloads.packages.model import Request, SupportedLicense
from backend.workloads.packages.origins import known_hosts
from backend.workloads.packages.policies.model import LicenceProposal
from backend.workloads.packages.policy_api import policy_bp
from backend.workloads.packages.policy_schemas import LicenceProposalsOut
from backend.workloads.packages.submission_sql import FEW_AT_ONCE
from backend.workloads.packages.waiver_api import waiver_bp

bp = Blueprint("packages", __name__, url_prefix="/api/packages")
admin_bp = Blueprint("policy", __name__, url_prefix="/api/admin")
BLUEPRINTS = (
    bp,
    admin_bp,
    advisories_api.bp,
    evidence_api.bp,
    *approval_api.BLUEPRINTS,
    policy_bp,
    waiver_bp,
)

UPLOADS = Rate("upload", lambda: settings().upload_rate_per_minute)
PROGRESS = Reading(service_sql.PROGRESS, schemas.ById)
DETAIL = Reading(service_sql.DETAIL, schemas.ById)


def _wake(queue: str = VETTING_QUEUE.name) -> None:
    """Tell the workers, after the commit."""
    current_app.extensions["lockkeeper"].ready(queue)


def _parse(file: UploadedFile, configured: Settings) -> ParsedLock:
    limit = configured.max_content_length
    return parse_lock(
        file.file.read(limit + 1),
        filename=file.filename,
        origins=known_hosts(configured),
        internal_scopes=configured.internal_scopes,
        max_bytes=limit,
    )


@bp.post("/upload")
@requires(Role.USER, scope=Scope.SUBMIT, rate=UPLOADS, deed=FEW_AT_ONCE)
@operation(status=HTTPStatus.ACCEPTED, problems=[Malformed, TooLarge, Unsupported, TooManyRequests])
def upload(form: schemas.UploadIn) -> schemas.UploadOut:
    """Queue every package of one lock file; answers before any of them is vetted."""
    configured = settings()
    lock = _parse(form.file, configured)
    pending = joint()
    submitted = submission.submit(
        g.statements, g.sessions, lock, joint=pending,
        by=pending.expected if pending else current_user(),
        max_age=configured.vetting_max_age, priority=form.priority,
    )  # fmt: skip
    _wake()
    return schemas.UploadOut.of(submitted, lock.exclusions)


@bp.get("/requests")
@requires(Role.USER)
@operation()
def requests(query: schemas.Page) -> schemas.RequestsOut:
    """Requests, newest first: users see their own, approvers and admins all."""
    found = service.summaries(
        g.statements, current_user(), before=query.before, limit=query.limit + 1
    )
    shaped = [schemas.RequestOut.of(summary) for summary in found[: query.limit]]
    return schemas.RequestsOut(
        requests=shaped, next=shaped[-1].id if len(found) > query.limit else None
    )


@bp.get("/requests/<id>")
@requires(Role.USER, reading=DETAIL)
@operation(problems=[NotFound])
def request_detail(path: schemas.ById) -> schemas.RequestDetail | Response:
    """One request with every package, exclusion and notice; a foreign one is not found."""
    return Response(schemas.RequestDetail.text(service.shown(path.id, found())), mimetype=JSON)


def _progress(request_id: int) -> Response:
    text = schemas.RequestProgress.text(service.shown(request_id, found()))
    return Response(text, mimetype=JSON)


@bp.get("/requests/<id>/processing-status")
@requires(Role.USER, reading=PROGRESS)
@operation(problems=[NotFound])
def processing_status(path: schemas.ById) -> schemas.RequestProgress | Response:
    """How far one request is."""
    return _progress(path.id)


@bp.get("/requests/<id>/status")
@requires(Role.USER, reading=PROGRESS)
@operation(problems=[NotFound])
def request_status(path: schemas.ById) -> schemas.RequestProgress | Response:
    """The same as processing-status."""
    return _progress(path.id)


@bp.get("/processing/status")
@requires(Role.USER)
@operation()
def processing() -> schemas.ProcessingOut:
    """How the packages queue is doing."""
    with transaction() as session:
        return schemas.ProcessingOut.of(service.processing(session, current_user()))


def _retry(request_id: int | None, wish: schemas.RetryIn) -> schemas.RetryOut:
    user = current_user()
    if wish.include_rejected:
        _may_include_rejected(user, wish)
    with transaction() as session:
        request: Request | None = None
        if request_id is not None:
            request = service.request_of(session, request_id, user)
            _may_retry(user, request, include_rejected=wish.include_rejected)
        elif not (user.may(Role.ADMIN) or (wish.include_rejected and user.may(Role.APPROVER))):
            raise Forbidden("Only an admin may retry every request: name a request_id.")
        retried = revetting.retry(
            session, request, by=user, include_rejected=wish.include_rejected, reason=wish.reason
        )
    _wake()
    _wake(PUBLISHING_QUEUE.name)
    return schemas.RetryOut(
        message=f"{len(retried)} packages queued again.",
        retried=len(retried),
        request_id=request_id,
    )


def _may_include_rejected(user: Principal, wish: schemas.RetryIn) -> None:
    if not user.may(Role.APPROVER):
        raise Forbidden("Vetting refused packages anew needs an approver or an admin.")
    if wish.reason is None:
        raise Malformed("Give a reason for vetting refused packages anew.", code="reason-missing")


def _may_retry(user: Principal, request: Request, *, include_rejected: bool) -> None:
    mine = request.requestor_id == user.id
    if include_rejected and mine:
        raise Forbidden("Somebody else must vet anew what you requested.", code="four-eyes")
    if not (mine or user.may(Role.ADMIN) or include_rejected):
        raise Forbidden("Only its requestor or an admin may retry a request.")


@bp.post("/processing/retry")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound, Forbidden])
def retry(body: schemas.RetryAnyIn) -> schemas.RetryOut:
    """Queue again what failed in processing: of one request, or (admin) of all."""
    return _retry(body.request_id, body)


@bp.post("/requests/<id>/retry")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound, Forbidden])
def retry_request(path: schemas.ById, body: schemas.RetryIn) -> schemas.RetryOut:
    """Queue again what failed in processing in one request."""
    return _retry(path.id, body)


@bp.post("/requests/<id>/withdraw")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound, Forbidden])
def withdraw(path: schemas.ById) -> schemas.WithdrawOut:
    """Take a request back; packages that no other open request needs are stopped."""
    user = current_user()
    with transaction() as session:
        request = service.request_of(session, path.id, user)
        if request.requestor_id != user.id and not user.may(Role.ADMIN):
            raise Forbidden("Only its requestor or an admin may withdraw a request.")
        cancelled = revetting.withdraw(session, request, by=user)
    message = f"Request {path.id} is withdrawn; {len(cancelled)} packages were stopped."
    return schemas.WithdrawOut(message=message, request_id=path.id, cancelled=len(cancelled))


@admin_bp.get("/licenses")
@requires(Role.USER)
@operation()
def licences() -> schemas.LicencesOut:
    """Every licence that policy knows, with its tier."""
    with transaction() as session:
        found = licence_admin.listed(session)
        return schemas.LicencesOut(licenses=[schemas.LicenceOut.model_validate(e) for e in found])


@admin_bp.get("/licenses/proposals")
@requires(Role.APPROVER)
@operation()
def licence_proposals() -> LicenceProposalsOut:
    """Changes that let more through, and wait for another admin to ask for the same."""
    with transaction() as session:
        return LicenceProposalsOut.of(licence_admin.proposals(session))


@admin_bp.get("/licenses/<id>")
@requires(Role.USER)
@operation(problems=[NotFound])
def licence(path: schemas.ById) -> schemas.LicenceOut:
    """One licence and its tier."""
    with transaction() as session:
        return schemas.LicenceOut.model_validate(licence_admin.one(session, path.id))


def _acted(
    done: SupportedLicense | LicenceProposal | None,
) -> SupportedLicense | None:
    """Behind the commit: what waits for another admin is stored, and yet nothing has changed."""
    if not isinstance(done, LicenceProposal):
        _wake()
        return done
    raise Conflict(
        f"This lets more through: it acts once another admin asks for the same (proposal"
        f" {done.id}).",
        code="second-admin-needed",
        proposal=done.id,
    )


@admin_bp.post("/licenses")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.CREATED, problems=[Conflict])
def add_licence(body: schemas.LicenceIn) -> schemas.LicenceOut:
    """Add a licence to the policy; acts at once, or once another admin asks for the same."""
    with transaction() as session:
        added = licence_admin.add(session, **body.model_dump(), by=current_user())
    return schemas.LicenceOut.model_validate(_acted(added))


@admin_bp.put("/licenses/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def change_licence(path: schemas.ById, body: schemas.LicenceIn) -> schemas.LicenceOut:
    """Change a licence's tier; acts at once, or once another admin asks for the same."""
    with transaction() as session:
        changed = licence_admin.change(session, path.id, **body.model_dump(), by=current_user())
    return schemas.LicenceOut.model_validate(_acted(changed))


@admin_bp.delete("/licenses/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def remove_licence(path: schemas.ById) -> None:
    """Remove a licence that no package's verdict rests on."""
    with transaction() as session:
        kept = licence_admin.remove(session, path.id, by=current_user())
    _acted(kept)


@admin_bp.get("/config")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation()
def config() -> schemas.ConfigOut:
    """What is configured and what is missing; secrets are masked."""
    configured, missing = configuration.described(settings())
    return schemas.ConfigOut(configured=configured, missing=missing)
