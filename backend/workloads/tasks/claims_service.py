"""The knowledge base: reviewed claims, which approvers write and everybody reads."""

from typing import Final

from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db import table_of
from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, NotFound
from backend.workloads.tasks import importing
from backend.workloads.tasks.data_model import ReviewedClaim
from backend.workloads.tasks.data_schemas import ClaimLine, ClaimPage
from backend.workloads.tasks.data_service import newest
from backend.workloads.tasks.importing import Imported, Staged

# Two imports with claims in common would wait for each other's rows.
_ALONE: Final = text("LOCK TABLE reviewed_claims IN SHARE ROW EXCLUSIVE MODE")


def listed(session: Session, page: ClaimPage) -> tuple[list[ReviewedClaim], int | None]:
    """A page of claims, the newest first, and where the next one begins."""
    conditions: list[ColumnElement[bool]] = []
    if page.topic is not None:
        conditions.append(ReviewedClaim.topic == page.topic)
    if page.verdict is not None:
        conditions.append(ReviewedClaim.verdict == page.verdict.value)
    if page.since is not None:
        conditions.append(ReviewedClaim.reviewed_at >= page.since)
    if page.until is not None:
        conditions.append(ReviewedClaim.reviewed_at < page.until)
    found, following = newest(session, ReviewedClaim, page, conditions)
    return list(found), following


def one(session: Session, claim_id: int) -> ReviewedClaim:
    """Raises NotFound."""
    found = session.scalar(select(ReviewedClaim).where(ReviewedClaim.id == claim_id))
    if found is None:
        raise NotFound(f"There is no claim {claim_id}.")
    return found


def add(session: Session, given: ClaimLine, by: Principal) -> ReviewedClaim:
    """Raises Conflict, ``duplicate``: the claim was reviewed before."""
    claim: ReviewedClaim | None = session.scalar(
        insert(ReviewedClaim)
        .values(**given.model_dump(), reviewed_by=by.id)
        .on_conflict_do_nothing()
        .returning(ReviewedClaim)
    )
    if claim is None:
        raise _duplicate()
    audit.record(session, by, "claim.added", f"claim:{claim.id}")
    return claim


def replace(session: Session, claim_id: int, given: ClaimLine, by: Principal) -> ReviewedClaim:
    """Review a claim anew.

    Raises:
        NotFound: there is no such claim.
        Conflict: ``duplicate``: another one says the same.
    """
    change = (
        update(ReviewedClaim)
        .where(ReviewedClaim.id == claim_id)
        .values(**given.model_dump(), reviewed_by=by.id, reviewed_at=func.now())
        .returning(ReviewedClaim)
    )
    try:
        claim = session.scalar(change)
    except IntegrityError:
        raise _duplicate() from None
    if claim is None:
        raise NotFound(f"There is no claim {claim_id}.")
    audit.record(session, by, "claim.reviewed", f"claim:{claim_id}")
    return claim


def remove(session: Session, claim_id: int, by: Principal) -> None:
    """Raises NotFound."""
    gone = delete(ReviewedClaim).where(ReviewedClaim.id == claim_id).returning(ReviewedClaim.id)
    if session.scalar(gone) is None:
        raise NotFound(f"There is no claim {claim_id}.")
    audit.record(session, by, "claim.deleted", f"claim:{claim_id}")


def take(session: Session, staged: Staged, by: Principal) -> Imported:
    """Store what an import brought; commits nothing."""
    session.execute(_ALONE)
    table = table_of(ReviewedClaim)
    imported = importing.store(session, staged, table, given={"reviewed_by": by.id})
    audit.record(session, by, "claim.imported", "claims", **imported.model_dump())
    return imported


def _duplicate() -> Conflict:
    return Conflict("This claim was reviewed before: change that review.", code="duplicate")
