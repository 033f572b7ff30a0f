"""Which lanes of a queue a claim takes from; those of a fair queue are served in turn."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from backend.queue import leases
from backend.queue.claiming import FAIR_LANES
from backend.queue.leases import Lane, Seen
from backend.queue.lifecycle import Queue
from workers.front import SHARE
from workers.partitions import Partitions

KNOWN: Final = 1.0  # seconds for which the lanes of a fair queue are taken for known


@dataclass(slots=True)
class Turn:
    """A key's place in the circle, and its lanes, the most pressing one first: that is served."""

    place: Lane
    lanes: list[Lane]


class Circle:
    """The lanes of one queue for one worker.

    In a fair queue each key is served from its most pressing lane: keys take turns whatever their
    priorities, and within one the most urgent row goes first.

    Those of a fair queue have to be asked for. Where there are so few that one claim can take from
    all of them, the answer serves for a second, or longer where to ask takes long (an old snapshot
    keeps dead rows at the head of each lane): a key that is new waits so long at most, and only
    while the worker finds plenty to do; and so does a more urgent row of a key that has others.
    Where there are more, each claim asks for the next ones.
    """

    def __init__(self, queue: Queue, partitions: Partitions) -> None:
        self._queue = queue
        self._partitions = partitions
        self._open = partitions.open
        self._fixed = self._all()
        self._known: list[Turn] = []
        self._known_until = 0.0
        self._after: Lane | None = None

    def emptied(self, lanes: Collection[Lane]) -> None:
        """Of these a claim has taken the last row: each key is served from its next one.

        Where a key has none that is known, there may be others by now, and of other keys, too.
        """
        for turn in self._known:
            turn.lanes = [lane for lane in turn.lanes if lane not in lanes]
        left = [turn for turn in self._known if turn.lanes]
        if not left or len(left) < len(self._known):
            self._forget()
        self._known = left

    def _forget(self) -> None:
        self._known_until = 0.0

    def next(self, room: int, ask: Callable[[Lane | None], Seen]) -> Seen:
        """Lanes for a claim of ``room`` rows; ``ask`` tells those after the last one served."""
        if self._partitions.open != self._open:
            self._open, self._fixed = self._partitions.open, self._all()
            self._forget()
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
        count = self._partitions.together([turn.lanes[0] for turn in self._known[:count]])
        turns = self._known[:count]
        self._known = self._known[count:] + turns
        self._after = turns[-1].place if turns else None
        return [turn.lanes[0] for turn in turns]


def _turns(seen: Seen) -> list[Turn]:
    """One of each key, in the order of the circle."""
    turns: dict[Lane, Turn] = {}
    pressing = dict(zip(seen.lanes, seen.urgencies, strict=True))
    for lane in seen.lanes:
        _, *key = lane
        turns.setdefault(tuple(key), Turn(lane, [])).lanes.append(lane)
    for turn in turns.values():
        turn.lanes.sort(key=lambda lane: (pressing[lane], lane), reverse=True)
    return [*turns.values()]
