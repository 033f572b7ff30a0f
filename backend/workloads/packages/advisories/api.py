"""The advisories API: how much is known, and what it flags."""

from flask import Blueprint, g

from backend.identity.guard import Role, requires
from backend.operations import operation, settings
from backend.workloads.packages.advisories import queries, schemas
from backend.workloads.packages.service import LAST

bp = Blueprint("advisories", __name__, url_prefix="/api/advisories")


@bp.get("")
@requires(Role.APPROVER)
@operation()
def advisories() -> schemas.AdvisoriesOut:
    """How old the imported advisories are, what they cover, and the last imports."""
    known, imports = queries.status(g.statements)
    return schemas.AdvisoriesOut.of(known, imports, complete=settings().advisories_complete)


@bp.get("/flags")
@requires(Role.APPROVER)
@operation()
def flags(query: schemas.FlagsIn) -> schemas.FlagsOut:
    """Packages that an advisory concerns which their verdict does not know of, newest first."""
    found = queries.flags(
        g.statements, before=query.before or LAST, limit=query.limit + 1,
        package_id=query.package_id, lifted=query.lifted,
    )  # fmt: skip
    shaped = [schemas.FlagOut.of(row) for row in found[: query.limit]]
    more = len(found) > query.limit
    return schemas.FlagsOut(flags=shaped, next=shaped[-1].id if more else None)
