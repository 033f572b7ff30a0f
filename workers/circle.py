"""Which lanes of a queue a claim takes from; those of a fair queue are served in turn."""

import time
from collections.abc import Callable
from typing import Final, TypeAlias

from backend.queue import leases
from backend.queue.claiming import FAIR_LANES
from backend.queue.leases import Lane, Seen
from backend.queue.lifecycle import Queue
from workers.front import SHARE
from workers.partitions import Partitions

KNOWN: Final = 1.0  # seconds for which the lanes of a fair queue are taken for known

Turn: TypeAlias = tuple[Lane, Lane]
"""A key's place in the circle, and the lane that it is served from."""


class Circle:
    """The lanes of one queue for one worker.

    In a fair queue each key is served from its most pressing lane: keys take turns whatever their
    priorities, and within one the most urgent row goes first.

    Those of a fair queue have to be asked for. Where there are so few that one claim can take from
    all of them, the answer serves for a second, or longer where to ask takes long (an old snapshot
    keeps dead rows at the head of each lane): a key that is new waits so long at most, and only
    while the worker finds plenty to do. Where there are more, each claim asks for the next ones.
    """

    def __init__(self, queue: Queue, partitions: Partitions) -> None:
        self._queue = queue
        self._partitions = partitions
        self._open = partitions.open
        self._fixed = self._all()
        self._known: list[Turn] = []
        self._known_until = 0.0
        self._after: Lane | None = None

    def forget(self) -> None:
        """A claim found nothing, or less than it might have: there may be other lanes by now."""
        self._known_until = 0.0

    def next(self, room: int, ask: Callable[[Lane | None], Seen]) -> Seen:
        """Lanes for a claim of ``room`` rows; ``ask`` tells those after the last one served."""
        if self._partitions.open != self._open:
            self._open, self._fixed = self._partitions.open, self._all()
            self.forget()
        if self._fixed is not None:
            return self._fixed
        count = min(room, FAIR_LANES)
        if time.monotonic() < self._known_until:
            return Seen(self._turn(count))
        began = time.monotonic()
        seen = ask(self._after)
        now = time.monotonic()
        self._known = _turns(seen)
        if len(seen.lanes) < FAIR_LANES:
            self._known_until = now + max(KNOWN, SHARE * (now - began))
        lanes = self._turn(count)
        return Seen(lanes, seen.at, whole=len(seen.lanes) <= len(lanes))

    def _all(self) -> Seen | None:
        """Every open lane of a queue that is not fair."""
        if self._queue.fair:
            return None
        return Seen(leases.fixed_lanes(self._queue, self._partitions.open))

    def _turn(self, count: int) -> list[Lane]:
        """The next ones of the circle that is known."""
        count = self._partitions.together([lane for _, lane in self._known[:count]])
        turns = self._known[:count]
        self._known = self._known[count:] + turns
        self._after = turns[-1][0] if turns else None
        return [lane for _, lane in turns]


def _turns(seen: Seen) -> list[Turn]:
    """One of each key, in the order of the circle."""
    places: dict[Lane, Lane] = {}
    served: dict[Lane, tuple[float, Lane]] = {}
    for urgency, lane in zip(seen.urgencies, seen.lanes, strict=True):
        _, *key = lane
        places.setdefault(tuple(key), lane)
        best = served.get(tuple(key), (urgency, lane))
        served[tuple(key)] = max(best, (urgency, lane))
    return [(place, served[key][1]) for key, place in places.items()]
