"""Reviewed claims as a task reads them in the worker, and the evidence that they give."""

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.workloads.tasks.data_model import ReviewedClaim

MOST_CLAIMS: Final = 20_000
"""Of one task: some 4 MB; those reviewed longest ago are left out, and counted."""


def read_claims(session: Session) -> dict[str, Any]:
    """``claims``: id, words and verdict; ``claims_left_out``: how many more there are."""
    newest = select(ReviewedClaim.id, ReviewedClaim.claim, ReviewedClaim.verdict).order_by(
        ReviewedClaim.reviewed_at.desc(), ReviewedClaim.id.desc()
    )
    claims = [list(row) for row in session.execute(newest.limit(MOST_CLAIMS))]
    every = session.scalars(select(func.count()).select_from(ReviewedClaim)).one()
    return {"claims": claims, "claims_left_out": max(0, every - len(claims))}


def read_evidence(session: Session, ids: set[int]) -> dict[int, tuple[str, list[str]]]:
    """Explanation and sources by claim; one that was deleted meanwhile has none."""
    found = select(ReviewedClaim.id, ReviewedClaim.explanation, ReviewedClaim.sources)
    rows = session.execute(found.where(ReviewedClaim.id.in_(ids)))
    return {row_id: (explanation, sources) for row_id, explanation, sources in rows}
