"""What this worker holds right now; shared by its threads."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue


class Held:
    """Leases by queue and id."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leases: dict[Queue, dict[int, Lease]] = defaultdict(dict)
        self._watched: dict[tuple[Queue, int, UUID], Callable[[], None]] = {}

    def add(self, leases: list[Lease]) -> None:
        with self._changed:
            for lease in leases:
                self._leases[lease.queue][lease.id] = lease

    def drop(self, *leases: Lease) -> None:
        with self._changed:
            for lease in leases:
                if self.holds(lease):
                    del self._leases[lease.queue][lease.id]
                if self._watched:
                    self._tell(lease)
            self._changed.notify_all()

    def advance(self, lease: Lease) -> None:
        """Know ``lease`` as it stands after the commit of a step, where it is still held."""
        with self._changed:
            if self.holds(lease):
                self._leases[lease.queue][lease.id] = lease

    def holds(self, lease: Lease) -> bool:
        """False once the lease was found lost: its step's result is to be dropped."""
        current = self._leases[lease.queue].get(lease.id)
        if current is None or current is lease:
            return current is not None
        return current.token == lease.token

    @contextmanager
    def watch(self, lease: Lease, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop``, which must not wait, once ``lease`` is dropped; never after the block."""
        with self._changed:
            self._watched[_key(lease)] = stop
            if not self.holds(lease):
                self._tell(lease)
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(_key(lease), None)

    def _tell(self, lease: Lease) -> None:
        stop = self._watched.pop(_key(lease), None)
        if stop is not None:
            stop()

    def of(self, queue: Queue) -> list[Lease]:
        with self._changed:
            return list(self._leases[queue].values())

    def count(self, queue: Queue) -> int:
        with self._changed:
            return len(self._leases[queue])

    def __len__(self) -> int:
        with self._changed:
            return self._count()

    def _count(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is held, ``timeout`` seconds at most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count() == 0, timeout)


def _key(lease: Lease) -> tuple[Queue, int, UUID]:
    return lease.queue, lease.id, lease.token
