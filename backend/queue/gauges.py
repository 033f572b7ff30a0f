"""What metrics say of a queue beyond its depth: held rows, suspects, dead rows. Counts only.

Each statement goes through a partial index: finished rows cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Row, func, literal, select
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import PROCESSING_FAILURES, SUSPECT_STALLS, Queue


@dataclass(frozen=True, slots=True)
class Holding:
    """Held rows of one status. ``oldest_progress``: seconds since the last sign of the slowest."""

    rows: int
    oldest_progress: float


NOTHING = Holding(0, 0.0)


def holding(session: Session, queue: Queue) -> Mapping[str, Holding]:
    """By status, also for those that no row bears. A heartbeat is no progress."""
    rows = queue.rows.c
    idle = func.extract("epoch", func.now() - rows.progressed_at)
    found = session.execute(
        select(rows.status, func.count(), func.max(idle))
        .where(sql.one_of(rows.status, queue.held))
        .group_by(rows.status)
    )
    # Progress that was committed after this transaction began lies ahead of its now().
    held = {status: Holding(count, max(0.0, float(oldest or 0))) for status, count, oldest in found}
    return {status: held.get(status, NOTHING) for status in queue.held}


def suspects(session: Session, queue: Queue) -> int:
    """Rows that stalled twice and wait to be run alone."""
    rows = queue.rows.c
    stalled = literal(SUSPECT_STALLS, literal_execute=True)
    waiting = select(func.count()).where(
        rows.status == sql.word(queue.ready), rows.stalls >= stalled
    )
    return session.scalar(waiting) or 0


def dead(session: Session, queue: Queue) -> Mapping[str, int]:
    """Rows that failed in processing, by failure, also for failures that no row has."""
    rows = queue.rows.c
    found = session.execute(
        select(rows.failure, func.count())
        .where(
            rows.failed_from == sql.word(queue.ready),
            sql.one_of(rows.failure, PROCESSING_FAILURES),
        )
        .group_by(rows.failure)
    )
    return dict.fromkeys(PROCESSING_FAILURES, 0) | dict(found.all())


def ended_under(
    session: Session, token: UUID, *, within: timedelta
) -> Sequence[Row[str, str | None]]:
    """(outcome, failure) of what was claimed with ``token`` and settled ``within`` that time."""
    ended = select(Attempt.outcome, Attempt.failure).where(
        Attempt.ended_at > func.now() - within,
        Attempt.token == token,
        Attempt.outcome != "stalled",  # whoever reaped it counted it
    )
    return session.execute(ended).all()
