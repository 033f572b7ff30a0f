"""Claim, heartbeat, step commit, settle and release: a lease's whole life.

Every function takes a session and runs inside the caller's transaction. A lease that is gone
raises :class:`LeaseLost` (one row) or is missing from the answer (batches): drop the result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Row, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lifecycle import SUSPECT_STALLS, Queue, Stage
from backend.queue.retry import Died, LeaseLost, Permanent, TimedOut, Transient, one_line

DEFAULT_TTL: Final = timedelta(seconds=12)
PRIORITIES: Final = tuple(range(10, 0, -1))
FRONT: Final = ("-infinity", 0)
FAIR_LANES: Final = 32

Lane = tuple[Any, ...]
"""(priority[, partition][, fairness key])"""


@dataclass(frozen=True, slots=True)
class Lease:
    """One row this worker holds. ``id`` + ``token`` is the fence of every write."""

    queue: Queue
    id: int
    token: UUID
    status: str
    step: str | None
    priority: int
    available_at: datetime
    attempts: int
    max_attempts: int
    stalls: int
    partition: str | None = None
    fairness_key: str | None = None
    waited: timedelta = timedelta()
    """From becoming ready to being claimed."""

    @property
    def suspect(self) -> bool:
        """It stalled twice and runs alone now."""
        return self.stalls >= SUSPECT_STALLS

    @property
    def lane(self) -> Lane:
        extra = (self.partition, self.fairness_key)
        return (self.priority, *(part for part in extra if part is not None))

    @property
    def next_stage(self) -> Stage | None:
        return self.queue.next_stage(self.step)


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one attempt ends. ``delay`` is set where the row becomes ready again later."""

    lease: Lease
    status: str
    outcome: str
    failure: str | None = None
    error: str | None = None
    delay: timedelta | None = None
    attempts: int = 0
    stalls: int = 0
    restart: bool = False
    """Start again from the first stage: the inputs of the next one are gone."""

    def __post_init__(self) -> None:
        # A stranger's text may be in it: what cannot be stored would cost the whole batch.
        if self.error is not None:
            object.__setattr__(self, "error", one_line(self.error))


def done(lease: Lease, *, status: str | None = None) -> Settlement:
    return Settlement(lease, status or lease.queue.done, "done", attempts=lease.attempts)


def failed(lease: Lease, failure: str, error: str) -> Settlement:
    """It ends here: ``failure`` is one of ``lifecycle.FAILURES``."""
    return Settlement(lease, lease.queue.failed, "failed", failure, error, attempts=lease.attempts)


def snoozed(lease: Lease, delay: timedelta, why: str) -> Settlement:
    """Ready again after ``delay``; no attempt is burnt."""
    return _again(lease, "snoozed", why, delay, attempts=lease.attempts - 1)


def rewound(lease: Lease, why: str) -> Settlement:
    """Ready again from the first stage, after the usual delay of a failed attempt."""
    if lease.attempts >= lease.max_attempts:
        return failed(lease, "exhausted", why)
    delay = lease.queue.backoff.delay(lease.attempts)
    return replace(_again(lease, "retry", why, delay, attempts=lease.attempts), restart=True)


def released(lease: Lease) -> Settlement:
    """Handed back untouched: no attempt burnt, no stall cleared, no delay."""
    return _again(lease, "released", None, None, attempts=lease.attempts - 1, stalls=lease.stalls)


def after_error(lease: Lease, error: Exception) -> Settlement:
    """What an exception of a step means for its row. Unknown exceptions count as transient."""
    if isinstance(error, Permanent):
        return failed(lease, "permanent", error.detail)
    if isinstance(error, Died):
        return _after_death(lease, error)
    # A database error's own text holds the statement and its parameters.
    said = type(error.orig).__name__ if isinstance(error, DBAPIError) else error
    detail = getattr(error, "detail", None) or f"{type(error).__name__}: {said}"
    if lease.attempts >= lease.max_attempts:
        return failed(lease, "timeout" if isinstance(error, TimedOut) else "exhausted", detail)
    kind, at_least = "transient", None
    if isinstance(error, Transient):
        kind, at_least = error.kind, error.retry_after
    delay = lease.queue.backoff.delay(lease.attempts, kind=kind, at_least=at_least)
    return _again(lease, "retry", detail, delay, attempts=lease.attempts)


def _after_death(lease: Lease, error: Died) -> Settlement:
    if lease.suspect:
        return failed(lease, "poison", error.detail)
    delay = lease.queue.backoff.delay(lease.stalls + 1)
    return _again(
        lease, "died", error.detail, delay, attempts=lease.attempts - 1, stalls=lease.stalls + 1
    )


def _again(
    lease: Lease, outcome: str, error: str | None, delay: timedelta | None, *,
    attempts: int, stalls: int = 0,
) -> Settlement:  # fmt: skip
    return Settlement(
        lease, lease.queue.ready, outcome, None, error, delay, max(attempts, 0), stalls
    )


class Marks:
    """Where each lane's scan starts: a worker's own memory of the last row it claimed there.

    Without marks a pinned xmin or a million dead index entries at the head of the queue slow
    every claim. Correctness never rests on them: whoever owns the object calls :meth:`forget`
    now and then, and the next claim looks from the very front.
    """

    def __init__(self) -> None:
        self._last: dict[Lane, tuple[str, int]] = {}

    def of(self, lane: Lane) -> tuple[str, int]:
        return self._last.get(lane, FRONT)

    def advance(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            at = (lease.available_at.isoformat(), lease.id)
            known = self._last.get(lease.lane)
            if known is None or (lease.available_at, lease.id) > (
                datetime.fromisoformat(known[0]), known[1],
            ):  # fmt: skip
                self._last[lease.lane] = at

    def forget(self) -> None:
        self._last.clear()


def claim(
    session: Session,
    queue: Queue,
    *,
    worker: str,
    limit: int,
    ttl: timedelta = DEFAULT_TTL,
    token: UUID | None = None,
    partitions: Sequence[str] | None = None,
    marks: Marks | None = None,
    lanes: Sequence[Lane] | None = None,
) -> list[Lease]:
    """Lease up to ``limit`` ready rows, most urgent first. Order of the list is unspecified.

    Args:
        worker: who will hold them.
        token: chosen by the worker, one for the batch, so that it can adopt the rows of a claim
            whose answer was lost; made here where absent.
        partitions: which of the queue's partitions to take from; all where absent.
        marks: where to start; from the very front where absent.
        lanes: of a fair queue, the (priority[, partition], key) lanes to take from; discovered
            from the first one on where absent.
    """
    token = token or uuid4()
    wanted = tuple(partitions or queue.partitions or ())
    if lanes is None:
        lanes = _all_lanes(session, queue, wanted)
    if not lanes:
        return []
    starts = [(marks or Marks()).of(lane) for lane in lanes]
    params = _lane_params(queue, lanes) | {
        "lanes_since": [since for since, _ in starts],
        "lanes_after_id": [after for _, after in starts],
        "token": token, "worker": worker, "ttl": ttl, "limit": limit,
        "share": -(-limit // len(lanes)) if queue.fair else limit,
    }  # fmt: skip
    leases = _leases(queue, token, session.execute(sql.claim(queue), params).all())
    if marks is not None:
        marks.advance(leases)
    return leases


def next_due(
    session: Session, queue: Queue, *, partitions: Sequence[str] | None = None
) -> float | None:
    """Seconds until the next row that backs off becomes ready; None where none does."""
    wanted = tuple(partitions or queue.partitions or ())
    if queue.fair:
        lanes = _lanes_after(session, queue, None, FAIR_LANES, wanted, ready_now=False)
    else:
        lanes = _all_lanes(session, queue, wanted)
    if not lanes:
        return None
    wait = session.scalar(sql.next_due(queue), _lane_params(queue, lanes))
    return None if wait is None else max(0.0, float(wait))


def _lane_params(queue: Queue, lanes: Sequence[Lane]) -> dict[str, Any]:
    params: dict[str, Any] = {"lanes_priority": [lane[0] for lane in lanes]}
    if queue.partitions:
        params["lanes_partition"] = [lane[1] for lane in lanes]
    if queue.fair:
        params["lanes_fairness_key"] = [lane[-1] for lane in lanes]
    return params


def _all_lanes(session: Session, queue: Queue, partitions: tuple[str, ...]) -> list[Lane]:
    if queue.fair:
        return next_lanes(session, queue, after=None, count=FAIR_LANES, partitions=partitions)
    if queue.partitions:
        return list(product(PRIORITIES, partitions))
    return [(priority,) for priority in PRIORITIES]


def next_lanes(
    session: Session,
    queue: Queue,
    *,
    after: Lane | None,
    count: int,
    partitions: Sequence[str] = (),
) -> list[Lane]:
    """Of a fair queue: the next lanes with a ready row after ``after`` in their circle.

    Whoever claims in turns through the circle, at most as many lanes at a time as rows, gives
    every key its share, however many rows other keys have waiting.
    """
    count = min(count, FAIR_LANES)
    lanes = _lanes_after(session, queue, after, count, partitions)
    if after is not None and len(lanes) < count:
        wrapped = _lanes_after(session, queue, None, count - len(lanes), partitions)
        lanes += [lane for lane in wrapped if lane not in lanes]
    return lanes


def _lanes_after(
    session: Session,
    queue: Queue,
    after: Lane | None,
    count: int,
    partitions: Sequence[str],
    *,
    ready_now: bool = True,
) -> list[Lane]:
    params: dict[str, Any] = {"count": count, "after_fairness_key": after[-1] if after else ""}
    params["after_priority"] = after[0] if after else 0
    if queue.partitions:
        params["after_partition"] = after[1] if after else ""
        params["partitions"] = list(partitions or queue.partitions)
    found = session.execute(sql.fairness_keys(queue, ready_now=ready_now), params).all()
    if queue.partitions:
        return [(row.priority, row.partition, row.fairness_key) for row in found]
    return [(row.priority, row.fairness_key) for row in found]


def claim_suspect(
    session: Session,
    queue: Queue,
    *,
    worker: str,
    ttl: timedelta = DEFAULT_TTL,
    token: UUID | None = None,
    partitions: Sequence[str] | None = None,
) -> Lease | None:
    """Lease one row that stalled twice. The caller must hold nothing else while it runs."""
    token = token or uuid4()
    params: dict[str, Any] = {"token": token, "worker": worker, "ttl": ttl}
    if queue.partitions:
        params["partitions"] = list(partitions or queue.partitions)
    leases = _leases(queue, token, session.execute(sql.claim_suspect(queue), params).all())
    return leases[0] if leases else None


def suspect_waits(session: Session, queue: Queue, partitions: Sequence[str] | None = None) -> bool:
    """Whether a row that stalled twice is ready: see :func:`claim_suspect`."""
    params: dict[str, Any] = {}
    if queue.partitions:
        params["partitions"] = list(partitions or queue.partitions)
    return session.scalar(select(sql.suspects(queue).exists()), params) or False


def adopt(session: Session, queue: Queue, token: UUID) -> list[Lease]:
    """The rows that a claim with ``token`` took, where its answer was lost."""
    return _leases(queue, token, session.execute(sql.adopt(queue), {"token": token}).all())


def _leases(queue: Queue, token: UUID, rows: Iterable[Row[Any]]) -> list[Lease]:
    return [
        Lease(
            queue, row.id, token, row.status, row.step, row.priority, row.available_at,
            row.attempts, row.max_attempts, row.stalls,
            row.queue if queue.partitions else None,
            row.fairness_key if queue.fair else None,
            row.waited,
        )
        for row in rows
    ]  # fmt: skip


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
    missing = {lease.id for lease in leases} - beaten
    if not missing:
        return set()
    return missing - set(session.scalars(sql.still_mine(queue), params))


def _fences(leases: Sequence[Lease]) -> dict[str, Any]:
    return {
        "leases_id": [lease.id for lease in leases],
        "leases_token": [str(lease.token) for lease in leases],
    }


def fenced(session: Session, ttl: timedelta = DEFAULT_TTL) -> None:
    """Begin a fenced transaction: frozen in the middle, it ends within one lease time."""
    milliseconds = str(int(ttl.total_seconds() * 1000))
    session.execute(sql.FENCED_TRANSACTION, {"ttl_ms": milliseconds})


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
    params = {
        "ends_id": [s.lease.id for s in settlements],
        "ends_token": [str(s.lease.token) for s in settlements],
        "ends_status": [s.status for s in settlements],
        "ends_outcome": [s.outcome for s in settlements],
        "ends_failure": [s.failure for s in settlements],
        "ends_error": [s.error for s in settlements],
        "ends_delay": [s.delay for s in settlements],
        "ends_attempts": [s.attempts for s in settlements],
        "ends_stalls": [s.stalls for s in settlements],
        "ends_restart": [s.restart for s in settlements],
    }
    settled = set(session.scalars(sql.settle(queue), params))
    return {s.lease.id for s in settlements} - settled


def settle_one(session: Session, settlement: Settlement) -> None:
    """End one attempt; call before writing its domain rows. Raises LeaseLost."""
    if settle(session, settlement.lease.queue, [settlement]):
        raise LeaseLost(f"row {settlement.lease.id} is not held with this token")


def release(session: Session, queue: Queue, leases: Sequence[Lease]) -> set[int]:
    """Hand rows back untouched; answers the ids that were lost already."""
    return settle(session, queue, [released(lease) for lease in leases])
