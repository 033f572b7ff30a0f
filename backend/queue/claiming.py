"""From ready to held: claims, and when the next one finds a row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lanes import (
    Marks,
    circle_params,
    fixed_lanes,
    lane_params,
    lanes_in,
    marked_lanes,
    next_lanes,
)
from backend.queue.lease import DEFAULT_TTL, Lane, Lease
from backend.queue.lifecycle import Queue


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What one claim asks for: up to ``limit`` rows of ``lanes``, from their marks on.

    ``worker`` will hold them for ``ttl`` with ``token``: one for the batch and chosen by the
    worker, so that it can adopt the rows of a claim whose answer was lost.
    """

    queue: Queue
    worker: str
    limit: int
    ttl: timedelta
    token: UUID
    lanes: Sequence[Lane]
    marks: Marks

    def parameters(self) -> dict[str, Any]:
        """Of the claiming statement; lanes are lists of one element a lane."""
        return marked_lanes(self.queue, self.lanes, self.marks) | {
            "token": str(self.token),
            "worker": self.worker,
            "ttl": self.ttl,
            "limit": self.limit,
            "share": self.share,
        }

    @property
    def share(self) -> int:
        """How many rows are taken from one lane at most.

        Rounded down: with more, the last lanes would get nothing of this claim, nor of the next.
        """
        if not self.queue.fair or not self.lanes:
            return self.limit
        return min(self.limit, max(1, self.limit // len(self.lanes)))

    @property
    def most(self) -> int:
        """How many rows it takes where each lane has plenty."""
        return min(self.limit, self.share * len(self.lanes))

    def emptied(self, claimed: Iterable[Lease]) -> set[Lane]:
        """Lanes that gave less than their share to a claim which found less than ``most``."""
        rows = Counter(lease.lane for lease in claimed)
        return {lane for lane in self.lanes if rows[lane] < self.share}


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
    if lanes is None:
        lanes = (
            next_lanes(session, queue, partitions=partitions).lanes
            if queue.fair
            else fixed_lanes(queue, partitions)
        )
    if not lanes:
        return []
    request = Request(
        queue=queue, worker=worker, limit=limit, ttl=ttl, token=token or uuid4(), lanes=lanes,
        marks=marks or Marks(),
    )  # fmt: skip
    return take(session, request)


def take(session: Session, request: Request) -> list[Lease]:
    """Claim as ``request`` says, and move its marks on."""
    rows = session.execute(sql.claim(request.queue), request.parameters()).all()
    leases = leased(request.queue, request.token, rows)
    request.marks.advance(leases)
    return leases


def next_due(
    session: Session,
    queue: Queue,
    *,
    partitions: Sequence[str] | None = None,
    after: datetime | None = None,
) -> float | None:
    """Seconds until the next row that backs off becomes ready; None where none does.

    ``after`` is when the claim that found nothing looked (now, where absent): what became ready
    since then is due at once.
    """
    if queue.fair:
        asked = circle_params(queue, partitions)
        lanes = lanes_in(queue, session.execute(sql.first_lanes(queue), asked))
    else:
        lanes = fixed_lanes(queue, partitions)
    return due_in(session, queue, lanes, after=after)


def due_in(
    session: Session, queue: Queue, lanes: Sequence[Lane], *, after: datetime | None
) -> float | None:
    """As :func:`next_due`, of these lanes only."""
    if not lanes:
        return None
    wait = session.scalar(sql.next_due(queue), lane_params(queue, lanes) | {"after": after})
    return None if wait is None else max(0.0, float(wait))


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
    leases = leased(queue, token, session.execute(sql.claim_suspect(queue), params).all())
    return leases[0] if leases else None


def suspects_wait(session: Session, served: Mapping[Queue, Sequence[str] | None]) -> set[str]:
    """In which queues a row that stalled twice is ready (:func:`claim_suspect`), by name.

    Args:
        served: the partitions of each that count; all where None.
    """
    found = session.execute(sql.some_suspects(tuple(served)), suspect_params(served))
    return {queue for _, queue, _ in found}


def suspect_params(served: Mapping[Queue, Sequence[str] | None]) -> dict[str, Any]:
    """Of :func:`backend.queue.sql.some_suspects`: which partitions count."""
    return {
        f"partitions{n}": list(partitions or queue.partitions or ())
        for n, (queue, partitions) in enumerate(served.items())
    }


def waiting_params(served: Mapping[Queue, Sequence[str] | None]) -> dict[str, Any]:
    """Beside :func:`suspect_params`, those of a look for what waits: lanes that are known."""
    params: dict[str, Any] = {}
    for n, (queue, partitions) in enumerate(served.items()):
        if not queue.fair:
            params |= lane_params(queue, fixed_lanes(queue, partitions), f"lanes{n}")
    return params


def adopt(session: Session, queue: Queue, token: UUID) -> list[Lease]:
    """The rows that a claim with ``token`` took, where its answer was lost."""
    return leased(queue, token, session.execute(sql.adopt(queue), {"token": token}).all())


def leased(queue: Queue, token: UUID, rows: Iterable[Sequence[Any]]) -> list[Lease]:
    """The leases in ``rows`` of :func:`backend.queue.sql.claiming.returned`."""
    return [
        Lease(
            queue, row_id, token, status, step, priority, available_at, attempts, most, stalls,
            lane[0] if queue.partitions else None,
            lane[-1] if queue.fair else None,
            waited, rewinds,
        )
        for row_id, priority, available_at, status, step, attempts, most, stalls, rewinds, waited,
            *lane in rows
    ]  # fmt: skip
