"""What becomes of debts: the analysis makes them, people resolve them."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict
from backend.workloads.tasks.data_model import Debt, DebtStatus
from backend.workloads.tasks.data_schemas import ResolutionIn
from backend.workloads.tasks.data_service import DEBTS, one


def resolve(session: Session, debt_id: int, said: ResolutionIn, by: Principal) -> Debt:
    """Say how a debt was settled.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Conflict: ``already-resolved``.
    """
    debt = one(session, DEBTS, debt_id, by, lock=True)
    if debt.status == DebtStatus.RESOLVED:
        raise Conflict(
            f"Debt {debt_id} is resolved already: {debt.resolution_method}.",
            code="already-resolved",
        )
    debt.status, debt.resolved_at = DebtStatus.RESOLVED.value, func.now()
    debt.resolution_method, debt.resolution_note = said.method.value, said.note
    _flushed(session, debt)
    audit.record(session, by, "debt.resolved", f"debt:{debt_id}", method=said.method.value)
    return debt


def reopen(session: Session, debt_id: int, by: Principal) -> Debt:
    """Take a resolution back; a debt that is open stays so. Raises NotFound."""
    debt = one(session, DEBTS, debt_id, by, lock=True)
    if debt.status == DebtStatus.RESOLVED:
        debt.status = DebtStatus.OPEN.value
        debt.resolved_at = debt.resolution_method = debt.resolution_note = None
        _flushed(session, debt)
        audit.record(session, by, "debt.reopened", f"debt:{debt_id}")
    return debt


def _flushed(session: Session, debt: Debt) -> None:
    session.flush()
    session.refresh(debt)
