"""From ready to held: claims, their lanes and marks."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lease import DEFAULT_TTL, Lane, Lease
from backend.queue.lifecycle import Queue

PRIORITIES: Final = tuple(range(10, 0, -1))


FRONT: Final = ("-infinity", 0)


FAIR_LANES: Final = 32


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
            row.waited, row.rewinds,
        )
        for row in rows
    ]  # fmt: skip
