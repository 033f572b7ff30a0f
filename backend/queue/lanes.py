"""The lanes of a queue, and a worker's memory of where it is in each of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue import sql
from backend.queue.lease import Lane, Lease
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
            known = last.get(lane)
            if known is None or at > known:
                last[lane] = at

    def replace(self, looked: "Marks") -> None:
        """Go on where a look from the very front ended, which may be further back."""
        if len(self._last) > MOST_MARKS:  # keys that no row has any more
            self._last.clear()
        self._last |= looked._last  # noqa: SLF001 - another of our own kind


def lane_params(queue: Queue, lanes: Sequence[Lane], name: str = "lanes") -> dict[str, Any]:
    """``name_*`` of a statement: lists of one element a lane."""
    params: dict[str, Any] = {f"{name}_priority": [lane[0] for lane in lanes]}
    if queue.partitions:
        params[f"{name}_partition"] = [lane[1] for lane in lanes]
    if queue.fair:
        params[f"{name}_fairness_key"] = [lane[-1] for lane in lanes]
    return params


def marked_lanes(queue: Queue, lanes: Sequence[Lane], marks: Marks) -> dict[str, Any]:
    """``lanes_*`` of a statement that begins at their marks: lists of one element a lane."""
    starts = [marks.of(lane) for lane in lanes]
    return lane_params(queue, lanes) | {
        "lanes_since": [since for since, _ in starts],
        "lanes_after_id": [after for _, after in starts],
    }


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


def open_lanes(
    session: Session,
    queue: Queue,
    lanes: Sequence[Lane],
    marks: Marks,
    partitions: Sequence[str] | None = None,
) -> Seen:
    """Which of these have a ready row, from their marks on, and new ones; not all may be found."""
    asked = open_params(queue, lanes, marks, partitions)
    return lanes_seen(queue, session.execute(sql.open_lanes(queue), asked).all(), whole=False)


def open_params(
    queue: Queue, lanes: Sequence[Lane], marks: Marks, partitions: Sequence[str] | None
) -> dict[str, Any]:
    """Parameters of :func:`backend.queue.sql.open_lanes`."""
    params = marked_lanes(queue, lanes, marks)
    return params | _served(queue, partitions)


def _served(queue: Queue, partitions: Sequence[str] | None) -> dict[str, Any]:
    return {"partitions": list(partitions or queue.partitions)} if queue.partitions else {}


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
    return params | _served(queue, partitions)


def lanes_seen(queue: Queue, rows: Sequence[Sequence[Any]], *, whole: bool = True) -> Seen:
    """What :func:`backend.queue.sql.circle` or :func:`~backend.queue.sql.open_lanes` answered."""
    there = [row for row in rows if row[-1] is not None]
    lanes = lanes_in(queue, (row[1:-1] for row in there))
    return Seen(lanes, rows[0][0], whole, urgencies=[float(row[-1]) for row in there])


def lanes_in(queue: Queue, found: Iterable[Sequence[Any]]) -> list[Lane]:
    if queue.partitions:
        return [(priority, partition, key) for partition, priority, key in found]
    return [(priority, key) for priority, key in found]
