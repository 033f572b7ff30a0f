"""Claim, heartbeat, step commit, settle and release: a lease's whole life.

Every function takes a session and runs inside the caller's transaction. A lease that is gone
raises :class:`LeaseLost` (one row) or is missing from the answer (batches): drop the result.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.claiming import (
    Request,
    adopt,
    claim,
    claim_suspect,
    due_in,
    next_due,
    suspects_wait,
    take,
)
from backend.queue.lanes import Marks, Seen, fixed_lanes, next_lanes, open_lanes
from backend.queue.lease import DEFAULT_TTL, Lane, Lease
from backend.queue.lifecycle import Queue
from backend.queue.retry import LeaseLost
from backend.queue.settlements import (
    Settlement,
    after_error,
    columns,
    done,
    failed,
    released,
    rewound,
    snoozed,
)

__all__ = [
    "DEFAULT_TTL",
    "Lane",
    "Lease",
    "Marks",
    "Request",
    "Seen",
    "Settlement",
    "adopt",
    "advanced",
    "after_error",
    "claim",
    "claim_suspect",
    "commit",
    "done",
    "due_in",
    "failed",
    "fixed_lanes",
    "had_committed",
    "heartbeat",
    "next_due",
    "next_lanes",
    "open_lanes",
    "progress",
    "release",
    "released",
    "rewound",
    "settle",
    "settle_free",
    "settle_one",
    "snoozed",
    "still_held",
    "suspects_wait",
    "take",
]


def heartbeat(
    session: Session, queue: Queue, leases: Sequence[Lease], *, ttl: timedelta = DEFAULT_TTL
) -> set[int]:
    """Extend ``leases``; answers the ids that are lost for certain.

    A row that somebody has locked just now is skipped, not lost: a plain read of its token
    decides.
    """
    if not leases:
        return set()
    params = _fences(leases)
    beaten = set(session.scalars(sql.heartbeat(queue), {**params, "ttl": ttl}))
    missing = [lease for lease in leases if lease.id not in beaten]
    return {lease.id for lease in missing} - still_held(session, queue, missing)


def still_held(session: Session, queue: Queue, leases: Sequence[Lease]) -> set[int]:
    """The ids of those that still carry their token: a plain read, which waits for nobody."""
    if not leases:
        return set()
    return set(session.scalars(sql.still_mine(queue), _fences(leases)))


def _fences(leases: Sequence[Lease]) -> dict[str, Any]:
    return {
        "leases_id": [lease.id for lease in leases],
        "leases_token": [str(lease.token) for lease in leases],
    }


def commit(session: Session, lease: Lease) -> Lease:
    """Record the lease's next stage as finished; call before writing its domain rows.

    The first statement of the transaction that holds the domain rows: both are committed or
    neither is.

    Returns:
        The lease as it stands after the commit.

    Raises:
        LeaseLost: somebody else has the row, or this very commit had been made already
            (see :func:`had_committed`).
    """
    committed = advanced(lease)
    params = _fence(lease) | {"next_status": committed.status, "finished_step": committed.step}
    if session.execute(sql.commit_step(lease.queue), params).first() is None:
        raise LeaseLost(f"row {lease.id} is not held with this token at step {lease.step!r}")
    return committed


def advanced(lease: Lease) -> Lease:
    """The lease as it stands once its next stage is committed."""
    stage = lease.next_stage
    if stage is None:
        raise LeaseLost(f"row {lease.id} has no stage after {lease.step!r}")
    after = lease.queue.next_stage(stage.name)
    status = stage.leaves or (after.status if after else stage.status)
    return replace(lease, step=stage.name, status=status, attempts=1, stalls=0)


def progress(session: Session, lease: Lease, status: str) -> Lease:
    """Say that work goes on, under ``status``. Raises LeaseLost like :func:`commit`."""
    params = _fence(lease) | {"next_status": status}
    if session.execute(sql.progress(lease.queue), params).first() is None:
        raise LeaseLost(f"row {lease.id} is not held with this token at step {lease.step!r}")
    return replace(lease, status=status)


def _fence(lease: Lease) -> dict[str, Any]:
    return {"row_id": lease.id, "token": lease.token, "from_step": lease.step}


def had_committed(session: Session, lease: Lease, step: str) -> bool:
    """Whether a commit of ``step`` whose answer was lost had in fact been made by this lease."""
    rows = lease.queue.rows
    found = session.execute(
        select(rows.c.lease_token, rows.c.step).where(rows.c.id == lease.id)
    ).first()
    return found is not None and found.lease_token == lease.token and found.step == step


def settle(session: Session, queue: Queue, settlements: Sequence[Settlement]) -> set[int]:
    """End attempts, one statement for the batch, history included.

    Returns:
        The ids whose lease was lost: nothing was written for them.
    """
    if not settlements:
        return set()
    settled = set(session.scalars(sql.settle(queue), columns(settlements)))
    return {s.lease.id for s in settlements} - settled


def settle_free(
    session: Session, queue: Queue, settlements: Sequence[Settlement]
) -> tuple[set[int], set[int]]:
    """Like :func:`settle`, but it waits for nobody.

    Returns:
        The ids whose lease was lost, and those that somebody else has locked just now: nothing
        was written for them, and they are to be settled later.
    """
    if not settlements:
        return set(), set()
    settled = set(session.scalars(sql.settle(queue, wait=False), columns(settlements)))
    missing = [s.lease for s in settlements if s.lease.id not in settled]
    locked = still_held(session, queue, missing)
    return {lease.id for lease in missing} - locked, locked


def settle_one(session: Session, settlement: Settlement) -> None:
    """End one attempt; call before writing its domain rows. Raises LeaseLost."""
    if settle(session, settlement.lease.queue, [settlement]):
        raise LeaseLost(f"row {settlement.lease.id} is not held with this token")


def release(session: Session, queue: Queue, leases: Sequence[Lease]) -> set[int]:
    """Hand rows back untouched; answers the ids that were lost already."""
    return settle(session, queue, [released(lease) for lease in leases])
