"""Which partitions of its queue a worker takes rows from just now."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from backend.queue.leases import Lane, Lease
from backend.queue.lifecycle import Queue


class Partitions:
    """Those that this worker serves; one that has as many rows running as it may is closed.

    ``open`` are those that are not; None: all, of a queue without limits.
    """

    def __init__(
        self, queue: Queue, served: Sequence[str] | None, at_once: Mapping[str, int]
    ) -> None:
        """``at_once`` limits how many rows of a partition run at the same time."""
        self._served = list(served or queue.partitions or ())
        self._at_once = {name: at_once[name] for name in self._served if name in at_once}
        self._left: dict[str, int] = {}
        self.open: Sequence[str] | None = self._served if self._at_once else served

    def room(self, room: int, running: Iterable[Lease]) -> int:
        """How many rows may be claimed of those that are open then: none where none is."""
        if not self._at_once or not room:
            return room
        count = Counter(lease.partition for lease in running)
        self._left = {name: most - count[name] for name, most in self._at_once.items()}
        self.open = [name for name in self._served if self._left.get(name, room) > 0]
        return room if self.open else 0

    def together(self, lanes: Sequence[Lane]) -> int:
        """How many of the first lanes may share a claim: those of a limited partition do not."""
        for number, lane in enumerate(lanes):
            if lane[1] in self._left:
                return number or 1
        return len(lanes)

    def most(self, room: int, lanes: Iterable[Lane]) -> int:
        """How many rows one claim may take from ``lanes``, whichever of them they are in."""
        if not self._left:
            return room
        return min((self._left.get(str(lane[1]), room) for lane in lanes), default=room)

    def opens(self, running: Iterable[Lease]) -> bool:
        """Whether one that was closed is so no more."""
        if not self._at_once or self.open == self._served:
            return False
        count = Counter(lease.partition for lease in running)
        closed = (name for name in self._served if name not in (self.open or ()))
        return any(count[name] < self._at_once[name] for name in closed)
