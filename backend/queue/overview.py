"""Counts, ages and rates over all queues, for metrics, status pages and the command line."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import Queue


@dataclass(frozen=True, slots=True)
class Depth:
    """One queue now. ``ready`` may run now; ``later`` backs off; waits are in seconds."""

    queue: str
    ready: int
    later: int
    held: int
    oldest_wait_seconds: float


def depth(session: Session, queue: Queue) -> Depth:
    """Counts through the partial indexes: finished rows cost nothing."""
    rows = queue.rows.c
    now = func.now()
    ready = session.execute(
        select(
            func.count().filter(rows.available_at <= now),
            func.count().filter(rows.available_at > now),
            func.max(func.extract("epoch", now - rows.available_at)).filter(
                rows.available_at <= now
            ),
        ).where(rows.status == sql.word(queue.ready))
    ).one()
    held = session.scalar(
        select(func.count()).select_from(queue.rows).where(sql.one_of(rows.status, queue.held))
    )
    return Depth(queue.name, ready[0], ready[1], held or 0, float(ready[2] or 0.0))


def outcomes(session: Session, queues: Iterable[Queue]) -> dict[tuple[str, str], int]:
    """Attempts ended in the last hour, by (queue, outcome)."""
    counted = (
        select(Attempt.queue, Attempt.outcome, func.count())
        .where(
            Attempt.ended_at > func.now() - func.make_interval(0, 0, 0, 0, 1),
            Attempt.queue.in_([queue.name for queue in queues]),
        )
        .group_by(Attempt.queue, Attempt.outcome)
    )
    return {(queue, outcome): n for queue, outcome, n in session.execute(counted)}
