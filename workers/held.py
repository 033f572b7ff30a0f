"""What this worker holds right now; shared by its threads."""

import threading
from collections import defaultdict
from collections.abc import Callable

from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue


class Held:
    """Leases by queue and id. Also the gate that lets a suspect row run alone.

    No claim is made while somebody asked to be alone, and somebody is alone only when nothing
    is held, nothing runs (a row whose lease was lost may still do so) and no claim is under way:
    then a death of this process is that one row's doing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leases: dict[Queue, dict[int, Lease]] = defaultdict(dict)
        self._claiming = 0
        self._running = 0
        self._alone = False

    def add(self, leases: list[Lease]) -> None:
        with self._changed:
            for lease in leases:
                self._leases[lease.queue][lease.id] = lease

    def drop(self, lease: Lease) -> None:
        with self._changed:
            current = self._leases[lease.queue].get(lease.id)
            if current is not None and current.token == lease.token:
                del self._leases[lease.queue][lease.id]
            self._changed.notify_all()

    def holds(self, lease: Lease) -> bool:
        """False once the lease was found lost: its step's result is to be dropped."""
        with self._changed:
            current = self._leases[lease.queue].get(lease.id)
            return current is not None and current.token == lease.token

    def begin(self, lease: Lease) -> bool:
        """Count ``lease`` as running until :meth:`end`; False where it was lost before."""
        with self._changed:
            if not self.holds(lease):
                return False
            self._running += 1
            return True

    def end(self) -> None:
        with self._changed:
            self._running -= 1

    def of(self, queue: Queue) -> list[Lease]:
        with self._changed:
            return list(self._leases[queue].values())

    def __len__(self) -> int:
        with self._changed:
            return self._count()

    def _count(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is held, ``timeout`` seconds at most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count() == 0, timeout)

    def claiming(self, claim: Callable[[], list[Lease]]) -> list[Lease]:
        """Run ``claim`` and hold what it took; takes nothing while a suspect wants the house."""
        with self._changed:
            if self._alone:
                return []
            self._claiming += 1
        leases: list[Lease] = []
        try:
            leases = claim()
        finally:
            with self._changed:
                for lease in leases:
                    self._leases[lease.queue][lease.id] = lease
                self._claiming -= 1
                self._changed.notify_all()
        return leases

    def ask_alone(self) -> bool:
        """Stop further claims. False where another queue asked first."""
        with self._changed:
            if self._alone:
                return False
            self._alone = True
            return True

    @property
    def empty_house(self) -> bool:
        with self._changed:
            quiet = self._claiming == 0 and self._running == 0
            return self._alone and quiet and self._count() == 0

    def end_alone(self) -> None:
        with self._changed:
            self._alone = False
            self._changed.notify_all()
