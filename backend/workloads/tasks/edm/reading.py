"""Interactions as a task reads them in the worker."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backend.workloads.tasks.data_model import Interaction

MOST_BYTES: Final = 12 * 1024 * 1024
"""Of one task's text: what is older is left out, and counted."""
OVERHEAD: Final = 64  # bytes that an interaction counts beside its text
MOST_ROWS: Final = MOST_BYTES // OVERHEAD
"""More are never read: whoever has a million is not sorted whole."""


def read_interactions(session: Session, *which: ColumnElement[bool]) -> dict[str, Any]:
    """The newest interactions of ``which``, as many as one task reads.

    Returns:
        ``interactions``: id, text, and whether it came with sources, the newest first;
        ``left_out``: how many more there are.
    """
    newest = (Interaction.occurred_at.desc(), Interaction.id.desc())
    size = func.octet_length(Interaction.text) + OVERHEAD
    sized = (
        select(Interaction.id, func.sum(size).over(order_by=newest, rows=(None, 0)).label("bytes"))
        .where(*which)
        .order_by(*newest)
        .limit(MOST_ROWS)
        .subquery()
    )
    rows = session.execute(
        select(Interaction.id, Interaction.text, func.cardinality(Interaction.citations) > 0)
        .join(sized, sized.c.id == Interaction.id)
        .where(sized.c.bytes <= MOST_BYTES)
        .order_by(sized.c.bytes)
    ).all()
    every = session.scalars(select(func.count()).select_from(Interaction).where(*which)).one()
    return {
        "interactions": [[row_id, said, cited] for row_id, said, cited in rows],
        "left_out": max(0, every - len(rows)),
    }


def of(user_id: int | None) -> Sequence[ColumnElement[bool]]:
    """Everybody's where it is None."""
    return () if user_id is None else (Interaction.user_id == user_id,)
