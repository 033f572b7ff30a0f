"""The policy API: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint, current_app

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Forbidden, Malformed, NotFound
from backend.workloads.packages import policy_schemas as shapes
from backend.workloads.packages import schemas
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.policies import current, history, versions
from backend.workloads.packages.policies.reading import read_policy
from backend.workloads.packages.policies.versions import Proposed

policy_bp = Blueprint("policies", __name__, url_prefix="/api/policy")


def _own_registry() -> bool:
    return settings().source_repository_url is not None


def _shaped(done: Proposed) -> shapes.PolicyProposedOut:
    """Behind the commit: workers are told of what is to be judged again."""
    if done.reopened:
        current_app.extensions["lockkeeper"].ready(VETTING_QUEUE.name)
    return shapes.PolicyProposedOut.of(done)


@policy_bp.get("")
@requires(Role.APPROVER)
@operation()
def policy() -> shapes.PoliciesOut:
    """The policy in force, and the proposals that another admin may second."""
    with transaction() as session:
        return shapes.PoliciesOut.of(current.in_force(session), versions.open_proposals(session))


@policy_bp.get("/versions")
@requires(Role.APPROVER)
@operation()
def policy_versions(query: schemas.Page) -> shapes.PolicyVersionsOut:
    """Every version there ever was, newest first, with who proposed and who seconded it."""
    with transaction() as session:
        found = versions.history(session, before=query.before, limit=query.limit + 1)
        shown = [shapes.PolicyOut.of(version) for version in found[: query.limit]]
    more = len(found) > query.limit
    return shapes.PolicyVersionsOut(versions=shown, next=shown[-1].version if more else None)


@policy_bp.post("")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.CREATED, problems=[Malformed, Conflict])
def propose_policy(body: shapes.PolicyIn) -> shapes.PolicyProposedOut:
    """Give another policy: what is stricter acts at once, what is looser needs another admin."""
    with transaction() as session:
        done = versions.propose(
            session,
            body.source,
            reason=body.reason,
            by=current_user(),
            own_registry=_own_registry(),
        )
    return _shaped(done)


@policy_bp.post("/proposals/<id>/second")
@requires(Role.ADMIN)
@operation(problems=[NotFound, Forbidden, Conflict])
def second_policy(path: schemas.ById) -> shapes.PolicyProposedOut:
    """Put another admin's proposal into force. No API key may: it is a person's to do."""
    with transaction() as session:
        done = versions.second(session, path.id, by=current_user(), own_registry=_own_registry())
    return _shaped(done)


@policy_bp.post("/test")
@requires(Role.APPROVER, scope=Scope.READ)
@operation(problems=[Malformed])
def test_policy(body: shapes.PolicyTestIn) -> shapes.PolicyTestOut:
    """A dry run over what was judged so far, page by page: what another policy would change."""
    wanted = read_policy(body.source)
    with transaction() as session:
        page = history.dry_run(
            session, wanted, after=body.after, limit=body.limit, own_registry=_own_registry()
        )
        return shapes.PolicyTestOut.of(page, versions.compared(session, wanted))
