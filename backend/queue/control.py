"""What people do to rows and queues: requeue, cancel, pause, resume."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.fleet import QueuePause
from backend.queue.lifecycle import PROCESSING_FAILURES, SUSPECT_STALLS, Queue


def requeue(
    session: Session,
    queue: Queue,
    ids: Collection[int],
    *,
    failures: Collection[str] = PROCESSING_FAILURES,
    failed_before: datetime | None = None,
    alone: bool = False,
) -> list[int]:
    """Make failed rows ready again, from the first stage, with all their attempts.

    Only rows whose ``failure`` is in ``failures``; by default what failed in processing, never
    what a policy or a person refused. Idempotent: a row that is no longer failed is left alone.

    Args:
        failures: words of FAILURES.
        failed_before: rows that failed then or later are left alone: they failed once more.
        alone: they run as rows do that stalled twice: each when its worker holds nothing else.

    Returns:
        The ids that became ready.
    """
    ended = {queue.failed, queue.cancel_word}
    return _enter(
        session, queue, ids, statuses=ended, failures=failures,
        ended_before=failed_before or "infinity", stalls=SUSPECT_STALLS if alone else 0,
    )  # fmt: skip


def reopen(
    session: Session,
    queue: Queue,
    ids: Collection[int],
    *,
    step: str | None = None,
    failures: Collection[str] = (),
) -> list[int]:
    """Make done rows ready again, to be worked on from the stage after ``step``.

    With ``failures`` also those that failed so: a verdict that is to be found anew.
    """
    ended = {queue.done, queue.failed} if failures else {queue.done}
    return _enter(session, queue, ids, statuses=ended, failures=failures, step=step)


def _enter(
    session: Session,
    queue: Queue,
    ids: Collection[int],
    *,
    statuses: Collection[str],
    failures: Collection[str],
    step: str | None = None,
    ended_before: datetime | str = "infinity",
    stalls: int = 0,
) -> list[int]:
    if not ids:
        return []
    params = {
        "ids": sorted(ids),
        "statuses": sorted(statuses),
        "failures": list(failures),
        "step": step,
        "ended_before": ended_before,
        "stalls": stalls,
    }
    return sorted(session.scalars(sql.enter(queue), params))


def cancel(session: Session, queue: Queue, ids: Collection[int], *, why: str) -> list[int]:
    """End rows that wait or run. A running one stops at its worker's next write.

    Returns:
        The ids that were cancelled; the others had ended already.
    """
    return sorted(session.scalars(sql.end_by_person(queue), {"ids": sorted(ids), "why": why}))


def pause(
    session: Session, queue: Queue, *, by: str, partition: str = "", reason: str | None = None
) -> None:
    """Claims leave the queue (or one partition of it) alone from now on; running rows finish."""
    values = {"queue": queue.name, "partition": partition, "paused_by": by, "reason": reason}
    session.execute(insert(QueuePause).values(values).on_conflict_do_nothing())


def resume(session: Session, queue: Queue, *, partition: str = "") -> None:
    session.execute(
        delete(QueuePause).where(QueuePause.queue == queue.name, QueuePause.partition == partition)
    )
