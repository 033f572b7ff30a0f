"""Which partitions of its queue a worker takes rows from just now."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from backend.queue.leases import Lease
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
        self.open: Sequence[str] | None = self._served if self._at_once else served

    def room(self, room: int, running: Iterable[Lease]) -> int:
        """How many rows may be claimed of those that are open then: too many of none."""
        if not self._at_once or not room:
            return room
        count = Counter(lease.partition for lease in running)
        left = {name: most - count[name] for name, most in self._at_once.items()}
        self.open = [name for name in self._served if left.get(name, room) > 0]
        return min((left.get(name, room) for name in self.open), default=0)

    def opens(self, running: Iterable[Lease]) -> bool:
        """Whether one that was closed is so no more."""
        if not self._at_once or self.open == self._served:
            return False
        count = Counter(lease.partition for lease in running)
        closed = (name for name in self._served if name not in (self.open or ()))
        return any(count[name] < self._at_once[name] for name in closed)
