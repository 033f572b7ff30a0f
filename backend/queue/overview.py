"""Counts, ages and rates over all queues, for metrics, status pages and the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, union_all
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
    waiting = union_all(*_ready(queue, rows.available_at)).subquery()
    ready, later, oldest = session.execute(select(*_counts(waiting.c.available_at))).one()
    held = session.scalar(
        select(func.count()).select_from(queue.rows).where(sql.one_of(rows.status, queue.held))
    )
    return Depth(queue.name, ready, later, held or 0, float(oldest or 0.0))


def depths(session: Session, queue: Queue) -> dict[str, Depth]:
    """The depth of each of a queue's partitions; of a queue without any, none."""
    if not queue.partitions:
        return {}
    rows = queue.rows.c
    held = select(rows.queue, literal(None, rows.available_at.type)).where(
        sql.one_of(rows.status, queue.held)
    )
    counted = union_all(*_ready(queue, rows.queue, rows.available_at), held).subquery().c
    found = session.execute(
        select(
            counted.queue,
            *_counts(counted.available_at),
            func.count().filter(counted.available_at.is_(None)),
        ).group_by(counted.queue)
    )
    known = {
        partition: Depth(queue.name, ready, later, held, float(oldest or 0.0))
        for partition, ready, later, oldest, held in found
    }
    empty = Depth(queue.name, 0, 0, 0, 0.0)
    return {partition: known.get(partition, empty) for partition in queue.partitions}


def _ready(queue: Queue, *columns: ColumnElement[Any]) -> list[Select[Any]]:
    """Ready rows through the predicates of the two partial indexes over them, one each."""
    rows = queue.rows.c
    suspects = literal(SUSPECT_STALLS, literal_execute=True)
    return [
        select(*columns).where(rows.status == sql.word(queue.ready), which)
        for which in (rows.stalls < suspects, rows.stalls >= suspects)
    ]


def _counts(
    since: ColumnElement[Any],
) -> tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[Any]]:
    """Ready now, ready later, and the longest wait in seconds."""
    now = func.now()
    return (
        func.count().filter(since <= now),
        func.count().filter(since > now),
        func.max(func.extract("epoch", now - since)).filter(since <= now),
    )


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
