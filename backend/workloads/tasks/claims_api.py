"""The knowledge base of reviewed claims: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, NotFound
from backend.workloads.tasks import claims_service
from backend.workloads.tasks import data_schemas as shapes
from backend.workloads.tasks.importing import Imported
from backend.workloads.tasks.importing_api import IMPORT_PROBLEMS, IMPORTS, received

bp = Blueprint("task_claims", __name__, url_prefix="/api/data/claims")


@bp.get("")
@requires(Role.USER)
@operation()
def claims(query: shapes.ClaimPage) -> shapes.ClaimsOut:
    """The reviewed claims, what came last first."""
    with transaction() as session:
        page, following = claims_service.listed(session, query)
    return shapes.ClaimsOut(
        claims=[shapes.ClaimOut.model_validate(row) for row in page], next=following
    )


@bp.post("")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(status=HTTPStatus.CREATED, problems=[Conflict])
def add_claim(body: shapes.ClaimLine) -> shapes.ClaimOut:
    """Store one reviewed claim; the caller is its reviewer."""
    with transaction() as session:
        return shapes.ClaimOut.model_validate(claims_service.add(session, body, current_user()))


@bp.post("/import")
@requires(Role.APPROVER, scope=Scope.DECIDE, rate=IMPORTS)
@operation(lines=shapes.ClaimLine, problems=IMPORT_PROBLEMS)
def import_claims() -> Imported:
    """Store reviewed claims, one JSON object a line; all or nothing."""
    with received(shapes.ClaimLine) as staged, transaction() as session:
        return claims_service.take(session, staged, current_user())


@bp.get("/<id>")
@requires(Role.USER)
@operation(problems=[NotFound])
def claim(path: shapes.ById) -> shapes.ClaimOut:
    """One reviewed claim."""
    with transaction() as session:
        return shapes.ClaimOut.model_validate(claims_service.one(session, path.id))


@bp.put("/<id>")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(problems=[NotFound, Conflict])
def replace_claim(path: shapes.ById, body: shapes.ClaimLine) -> shapes.ClaimOut:
    """Review a claim anew; the caller becomes its reviewer."""
    with transaction() as session:
        replaced = claims_service.replace(session, path.id, body, current_user())
        return shapes.ClaimOut.model_validate(replaced)


@bp.delete("/<id>")
@requires(Role.APPROVER, scope=Scope.DECIDE)
@operation(problems=[NotFound])
def remove_claim(path: shapes.ById) -> None:
    """Delete a claim from the knowledge base."""
    with transaction() as session:
        claims_service.remove(session, path.id, current_user())
