"""When a claim starts at the very front of its lanes, and not from its marks."""

from collections.abc import Iterable
from math import inf
from typing import Final

from backend.queue.lanes import MOST_MARKS
from backend.queue.leases import Lane
from workers.resting import rest

LOOK_FROM_FRONT: Final = 1.0  # seconds between two looks at the front of one lane, at least
SHARE: Final = 50  # such looks take one fiftieth of the time, at most


class Front:
    """Remembers each lane by itself: a claim of a fair queue has only some of them."""

    def __init__(self) -> None:
        self._next: dict[Lane, float] = {}
        self._rested = 0.0

    def due(self, lanes: Iterable[Lane]) -> float:
        """When a claim from ``lanes`` starts at the front, by the monotonic clock."""
        return max(self._rested, min((self._next.get(lane, 0.0) for lane in lanes), default=inf))

    def looked(self, lanes: Iterable[Lane], *, began: float, took: float) -> None:
        """It did, for ``took`` seconds."""
        if len(self._next) > MOST_MARKS:  # keys that no row has any more
            self._next.clear()
        self._next |= dict.fromkeys(lanes, began + LOOK_FROM_FRONT)
        self._rested = began + rest(took, share=SHARE)
