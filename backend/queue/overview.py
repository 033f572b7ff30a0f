"""Counts, ages and rates over all queues, for metrics, status pages and the command line."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, literal, select, union_all
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import SUSPECT_STALLS, Queue


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
    suspects = literal(SUSPECT_STALLS, literal_execute=True)
    waiting = union_all(
        *(
            # The predicates of the two partial indexes over ready rows, one each.
            select(rows.available_at).where(rows.status == sql.word(queue.ready), which)
            for which in (rows.stalls < suspects, rows.stalls >= suspects)
        )
    ).subquery()
    since = waiting.c.available_at
    ready = session.execute(
        select(
            func.count().filter(since <= now),
            func.count().filter(since > now),
            func.max(func.extract("epoch", now - since)).filter(since <= now),
        )
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
