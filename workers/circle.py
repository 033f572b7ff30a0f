"""Which lanes of a queue a claim takes from; those of a fair queue are served in turn."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from backend.queue import leases
from backend.queue.lanes import FAIR_LANES
from backend.queue.leases import Lane, Seen
from backend.queue.lifecycle import Queue
from workers.partitions import Partitions
from workers.resting import rest

KNOWN: Final = 1.0  # seconds for which the lanes of a fair queue are taken for known
SHARE: Final = 50  # where others are known, to ask takes one fiftieth of the time, at most


@dataclass(slots=True, eq=False)
class Turn:
    """A key's place in the circle, and its lanes.

    It is served from the first that is ``open``: those are thought to have rows, and the most
    pressing one is the first.
    """

    place: Lane
    lanes: list[Lane]
    open: list[Lane]


class Circle:
    """The lanes of one queue for one worker.

    In a fair queue each key is served from its most pressing lane: keys take turns whatever their
    priorities, and within one the most urgent row goes first.

    Those of a fair queue have to be asked for. Where there are so few that one claim can take from
    all of them, the answer serves for a second: a key that is new waits so long at most, and only
    while the worker finds plenty to do; and so does a more urgent row of a key that has others.
    Where there are more, each claim asks for the next ones.

    To ask may take long: dead rows lie at the head of each lane until they are cleaned away. Then
    the lanes that are known are looked into from their marks, and the gaps between them for others;
    all are asked for in a fiftieth of the time at most, and where those have nothing more.
    """

    def __init__(self, queue: Queue, partitions: Partitions) -> None:
        self._queue = queue
        self._partitions = partitions
        self._open = partitions.open
        self._fixed = self._all()
        self._known: list[Turn] = []
        self._known_until = 0.0
        self._rested = 0.0
        self._after: Lane | None = None

    def emptied(self, lanes: Collection[Lane]) -> None:
        """Of these a claim has taken the last row: each key is served from its next one.

        Where a key has none that is open, there may be rows by now, and of other keys, too.
        """
        before = self._opened
        for turn in before:
            turn.open = [lane for lane in turn.open if lane not in lanes]
        after = self._opened
        if not after or len(after) < len(before):
            self._known_until = 0.0

    def next(
        self,
        room: int,
        ask: Callable[[Lane | None], Seen],
        look: Callable[[Sequence[Lane]], Seen],
    ) -> Seen:
        """Lanes for a claim of ``room`` rows.

        Args:
            ask: tells those after the last one served.
            look: tells which of these have rows, and some others, and is quick.
        """
        if self._partitions.open != self._open:
            self._open, self._fixed = self._partitions.open, self._all()
            self._known_until = self._rested = 0.0
        if self._fixed is not None:
            return self._fixed
        count, now = min(room, FAIR_LANES), time.monotonic()
        if now < self._known_until:
            return Seen(self._turn(count))
        if now < self._rested and (known := [lane for turn in self._known for lane in turn.lanes]):
            seen = look(known)
            if seen.lanes:
                new = [lane for lane in seen.lanes if lane not in known]
                self._known = _turns([*known, *new[: FAIR_LANES - len(known)]], seen)
                self._known_until = time.monotonic() + KNOWN
                return Seen(self._turn(count), seen.at, whole=False)
        return self._walked(ask, count)

    def _walked(self, ask: Callable[[Lane | None], Seen], count: int) -> Seen:
        began = time.monotonic()
        seen = ask(self._after)
        now = time.monotonic()
        # Lanes that have no row just now are likely to have some soon.
        others = [o for turn in self._known for o in turn.lanes if o not in seen.lanes]
        few = len(seen.lanes) + len(others) < FAIR_LANES
        self._known = _turns([*seen.lanes, *(others if few else [])], seen)
        self._known_until = self._rested = 0.0
        if len(seen.lanes) < FAIR_LANES:
            self._known_until = now + KNOWN
            pause = rest(now - began, share=SHARE)
            self._rested = now + pause if pause > KNOWN else 0.0
        lanes = self._turn(count)
        return Seen(lanes, seen.at, whole=len(seen.lanes) <= len(lanes))

    def _all(self) -> Seen | None:
        """Every open lane of a queue that is not fair."""
        if self._queue.fair:
            return None
        return Seen(leases.fixed_lanes(self._queue, self._partitions.open))

    @property
    def _opened(self) -> list[Turn]:
        return [turn for turn in self._known if turn.open]

    def _turn(self, count: int) -> list[Lane]:
        """The next ones of the circle that is known."""
        opened = self._opened
        count = self._partitions.together([turn.open[0] for turn in opened[:count]])
        turns = opened[:count]
        self._known = [turn for turn in self._known if turn not in turns] + turns
        self._after = turns[-1].place if turns else None
        return [turn.open[0] for turn in turns]


def _turns(lanes: Iterable[Lane], seen: Seen) -> list[Turn]:
    """One of each key, in the order of the circle."""
    turns: dict[Lane, Turn] = {}
    for lane in lanes:
        _, *key = lane
        turns.setdefault(tuple(key), Turn(lane, [], [])).lanes.append(lane)
    _open(turns.values(), seen)
    return [*turns.values()]


def _open(turns: Iterable[Turn], seen: Seen) -> None:
    """Those of their lanes that were seen to have rows."""
    urgency = dict(zip(seen.lanes, seen.urgencies, strict=True))
    for turn in turns:
        there = [lane for lane in turn.lanes if lane in urgency]
        turn.open = sorted(there, key=lambda lane: (urgency[lane], lane), reverse=True)
