"""The threads of one queue: the rows that wait for one, that run, and that came to their end."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from backend.queue.leases import Lease
from workers.executor import Ended

log = structlog.get_logger(__name__)

QUICK: Final = 0.0002
"""Seconds. To wake a thread costs half as much: rows that end sooner are left to one thread."""
LOOK: Final = 0.002  # seconds until the next look whether that one is still quick


class Crew:
    """At most ``size`` threads that :meth:`give` starts as they are needed.

    Whoever gives rows waits at ``changed``, whose lock guards all that is public here. It is
    notified as soon as there may be something to do: a first row ended, or ``batch`` of them did,
    or no row is left, or one ended that needs no settling.
    """

    def __init__(
        self, name: str, size: int, run: Callable[[Lease], Ended | None], *, batch: int
    ) -> None:
        """``run`` works on a lease and never raises; None where there is nothing to settle."""
        self._name = name
        self._size = size
        self._run = run
        self._batch = batch
        self._threads: list[threading.Thread] = []
        self._unstarted: deque[Lease] = deque()
        self._running: dict[int, tuple[Lease, float]] = {}
        self._idle = 0
        self._called = False
        self._quick = False
        self._closed = False
        self._lock = threading.Lock()
        self._given = threading.Condition(self._lock)
        self.changed = threading.Condition(self._lock)
        self.in_flight = 0
        self.finished: list[Ended] = []
        self.finished_since = 0.0
        """When the first of ``finished`` ended, by the monotonic clock."""

    def give(self, leases: Iterable[Lease]) -> None:
        """Let them wait for a thread; those that are idle learn of it by :meth:`start`."""
        with self.changed:
            before = len(self._unstarted)
            self._unstarted.extend(leases)
            self.in_flight += len(self._unstarted) - before
            while len(self._threads) < min(self._size, self.in_flight):
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def start(self) -> None:
        """Let idle threads begin on what was given."""
        with self.changed:
            self.call()

    def collect(self) -> list[Ended]:
        """What ended since the last call; with the lock held."""
        finished, self.finished = self.finished, []
        return finished

    def take_back(self) -> list[Lease]:
        """What no thread has begun; with the lock held."""
        unstarted = list(self._unstarted)
        self._unstarted.clear()
        self.in_flight -= len(unstarted)
        return unstarted

    def begun_before(self, moment: float) -> list[Lease]:
        """What has been running since before ``moment``; with the lock held."""
        return [lease for lease, began in self._running.values() if began < moment]

    def close(self) -> None:
        """Let idle threads end; one that hangs ends with the process."""
        with self.changed:
            self._closed = True
            self._given.notify_all()

    def _work(self) -> None:
        me = threading.get_ident()
        lease = ended = None
        while True:
            with self._lock:  # by the condition's own way it takes twice as long
                if lease is not None:
                    self._put(me, ended)
                lease = self._take(me)
            if lease is None:
                return
            ended = self._run(lease)

    def _take(self, me: int) -> Lease | None:
        while not self._unstarted:
            if self._closed:
                return None
            self._idle += 1
            self._given.wait()
            self._idle -= 1
            self._called = False
        lease = self._unstarted.popleft()
        self._running[me] = lease, time.monotonic()
        if not self._quick:
            self._wake()
        return lease

    def call(self) -> bool:
        """Wake one thread where a row waits, which then wakes the next; with the lock held.

        Returns:
            True where none was woken, since whoever runs now has been quick: to be called again
            after :data:`LOOK`, for it may no longer be.
        """
        if not self._unstarted or not self._idle:
            return False
        if self._quick and self._running:
            recently = time.monotonic() - QUICK
            if all(began > recently for _, began in self._running.values()):
                return True
            self._quick = False
        self._wake()
        return False

    def _wake(self) -> None:
        if self._unstarted and self._idle and not self._called:
            self._called = True
            self._given.notify()

    def _put(self, me: int, ended: Ended | None) -> None:
        del self._running[me]
        self.in_flight -= 1
        self._quick = ended is not None and ended.ran is not None and ended.ran < QUICK
        if ended is not None:
            if not self.finished:
                self.finished_since = time.monotonic()
            self.finished.append(ended)
        if ended is None or self.in_flight == 0 or len(self.finished) in (1, self._batch):
            self.changed.notify()
