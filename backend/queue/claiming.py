"""From ready to held: claims, their lanes and marks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lease import DEFAULT_TTL, Lane, Lease
from backend.queue.lifecycle import Queue

PRIORITIES: Final = tuple(range(10, 0, -1))


FRONT: Final = "-infinity"


FAIR_LANES: Final = 32


MOST_MARKS: Final = 4096


class Marks:
    """Where each lane's scan starts: a worker's own memory of the last row it claimed there.

    Without marks a pinned xmin or a million dead index entries at the head of the queue slow
    every claim. Correctness never rests on them: whoever owns the object claims with fresh ones
    now and then, from the very front, and goes on from there (:meth:`replace`).
    """

    def __init__(self) -> None:
        self._last: dict[Lane, tuple[datetime, int]] = {}

    def of(self, lane: Lane) -> tuple[str, int]:
        last = self._last.get(lane)
        return (last[0].isoformat(), last[1]) if last else (FRONT, 0)

    def advance(self, leases: Iterable[Lease]) -> None:
        last = self._last
        for lease in leases:
            lane, at = lease.lane, (lease.available_at, lease.id)
            if lane not in last or at > last[lane]:
                last[lane] = at

    def replace(self, looked: "Marks") -> None:
        """Go on where a look from the very front ended, which may be further back."""
        if len(self._last) > MOST_MARKS:  # keys that no row has any more
            self._last.clear()
        self._last |= looked._last  # noqa: SLF001 - another of our own kind


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
        starts = [self.marks.of(lane) for lane in self.lanes]
        return _lane_params(self.queue, self.lanes) | {
            "lanes_since": [since for since, _ in starts],
            "lanes_after_id": [after for _, after in starts],
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
        lanes = _lanes(queue, session.execute(sql.first_lanes(queue), asked))
    else:
        lanes = fixed_lanes(queue, partitions)
    return due_in(session, queue, lanes, after=after)


def due_in(
    session: Session, queue: Queue, lanes: Sequence[Lane], *, after: datetime | None
) -> float | None:
    """As :func:`next_due`, of these lanes only."""
    if not lanes:
        return None
    wait = session.scalar(sql.next_due(queue), _lane_params(queue, lanes) | {"after": after})
    return None if wait is None else max(0.0, float(wait))


def _lane_params(queue: Queue, lanes: Sequence[Lane], name: str = "lanes") -> dict[str, Any]:
    params: dict[str, Any] = {f"{name}_priority": [lane[0] for lane in lanes]}
    if queue.partitions:
        params[f"{name}_partition"] = [lane[1] for lane in lanes]
    if queue.fair:
        params[f"{name}_fairness_key"] = [lane[-1] for lane in lanes]
    return params


def fixed_lanes(queue: Queue, partitions: Sequence[str] | None = None) -> list[Lane]:
    """Every lane of a queue that is not fair: nothing need be asked."""
    if queue.partitions:
        return list(product(PRIORITIES, partitions or queue.partitions))
    return [(priority,) for priority in PRIORITIES]


@dataclass(frozen=True, slots=True)
class Seen:
    """Lanes to claim from; ``at`` is when the database was asked for them, if it was just now.

    They are not the ``whole`` circle where rows may be ready in others, too. ``urgencies`` tells
    how pressing each lane was then: its priority, raised with the wait of its oldest row.
    """

    lanes: Sequence[Lane]
    at: datetime | None = None
    whole: bool = True
    urgencies: Sequence[float] = ()


def next_lanes(
    session: Session,
    queue: Queue,
    *,
    after: Lane | None = None,
    partitions: Sequence[str] | None = None,
) -> Seen:
    """Of a fair queue: up to :data:`FAIR_LANES` lanes with a ready row, from ``after`` on, in turn.

    Whoever claims in turns through the circle, at most as many lanes at a time as rows, gives
    every key its share, however many rows other keys have waiting. Which lane a key is served
    from is up to them.
    """
    asked = circle_params(queue, partitions, after)
    return lanes_seen(queue, session.execute(sql.circle(queue), asked).all())


def circle_params(
    queue: Queue, partitions: Sequence[str] | None, after: Lane | None = None
) -> dict[str, Any]:
    """Parameters of :func:`backend.queue.sql.circle`; from the start where ``after`` is absent."""
    params: dict[str, Any] = {
        "count": FAIR_LANES,
        "after_priority": after[0] if after else 0,
        "after_fairness_key": after[-1] if after else "",
    }
    if queue.partitions:
        params["after_partition"] = after[1] if after else ""
        params["partitions"] = list(partitions or queue.partitions)
    return params


def lanes_seen(queue: Queue, rows: Sequence[Sequence[Any]]) -> Seen:
    """What :func:`backend.queue.sql.circle` answered."""
    there = [row for row in rows if row[-1] is not None]
    lanes = _lanes(queue, (row[1:-1] for row in there))
    return Seen(lanes, rows[0][0], urgencies=[float(row[-1]) for row in there])


def _lanes(queue: Queue, found: Iterable[Sequence[Any]]) -> list[Lane]:
    if queue.partitions:
        return [(priority, partition, key) for partition, priority, key in found]
    return [(priority, key) for priority, key in found]


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
            params |= _lane_params(queue, fixed_lanes(queue, partitions), f"lanes{n}")
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
