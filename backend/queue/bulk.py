"""Many dead rows at once: made ready again, in batches that lock little and never for long."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import control, dead
from backend.queue.dead import Place, Selection
from backend.queue.lifecycle import Queue

BATCH: Final = 1000
"""Dead rows that one transaction looks at, and at most requeues."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """What became ready. ``more`` may match: the limit ended it. ``began`` by the database's clock.

    Whoever goes on after a limit selects what failed before ``began``: a row that fails once more
    is then not requeued over and over.
    """

    ids: list[int]
    more: bool
    began: datetime


def requeue(
    sessions: Sessions,
    queue: Queue,
    selection: Selection,
    *,
    limit: int,
    alone: bool = False,
    note: Callable[[Session, list[int]], None] = lambda _session, _ids: None,
) -> Requeued:
    """Make dead rows ready again, oldest failures first, from the first stage on.

    Each batch is a transaction of its own, which locks its rows in the order of their ids. A row
    that a person or another requeue took meanwhile is left to them; one that failed again since
    this began is left alone.

    Args:
        limit: of rows.
        alone: see :func:`backend.queue.control.requeue`.
        note: called in the transaction of each batch with the ids that it requeues.
    """
    with sessions.begin() as session:
        began = session.scalars(select(func.clock_timestamp())).one()
    before = min(began, selection.failed_before or began)
    selection = replace(selection, failed_before=before)
    requeued: list[int] = []
    after: Place | None = None
    while len(requeued) < limit:
        with sessions.begin() as session:
            matching, after = _batch(session, queue, selection, after)
            ids = control.requeue(
                session, queue, matching[: limit - len(requeued)], failed_before=before, alone=alone
            )
            if ids:
                note(session, ids)
        requeued += ids
        if after is None:
            return Requeued(requeued, more=False, began=began)
    return Requeued(requeued, more=True, began=began)


def _batch(
    session: Session, queue: Queue, selection: Selection, after: Place | None
) -> tuple[list[int], Place | None]:
    """The matching ids among the next dead rows, and the last one's place; None at the end."""
    found = session.execute(_page(queue, selection, after)).all()
    last = (found[-1][0], found[-1][1]) if len(found) == BATCH else None
    return [row_id for _, row_id, wanted in found if wanted], last


def _page(queue: Queue, selection: Selection, after: Place | None) -> Select[datetime, int, bool]:
    """The next dead rows of where to look, oldest failures first, and whether each is wanted."""
    rows = queue.rows.c
    page = (
        select(rows.completed_at, rows.id, dead.wanted(queue, selection))
        .where(dead.where(queue, selection))
        .order_by(rows.completed_at, rows.id)
        .limit(BATCH)
    )
    if after is None:
        return page
    return page.where(tuple_(rows.completed_at, rows.id) > tuple_(*after))
