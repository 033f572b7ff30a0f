"""What steps say of themselves while they run, and that they hear when their row is taken back."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.queue import reporting
from backend.queue.leases import Lease
from backend.queue.retry import LeaseLost
from backend.queue.writes import Writes
from workers.held import Held

log = structlog.get_logger(__name__)

INTERVAL: Final = 0.5
"""Seconds between two words of one row that are written down."""
STOPPING: Final = 10.0
"""Seconds that a step which is to be interrupted waits for who does it, at most."""


class Reports:
    """Of the rows of one queue; for any number of threads, each of which runs one row at a time."""

    def __init__(self, writes: Writes, held: Held, *, beat: Callable[[], None]) -> None:
        """``beat`` renews all leases soon, which shows what was lost."""
        self._writes = writes
        self._held = held
        self._beat = beat
        self._here = threading.local()

    def about(self, lease: Lease) -> None:
        """From now on this thread runs that row."""
        here = self._here
        here.lease, here.spoke = lease, -math.inf
        reporting.speak_to(self)

    def report(self, percent: int, message: str) -> None:
        """Write it down, where the last word is old enough.

        Raises:
            LeaseLost: the row was taken back.
        """
        lease: Lease = self._here.lease
        if not self._held.holds(lease):
            raise LeaseLost(f"row {lease.id} was taken back while it ran")
        now = time.monotonic()
        if now < self._here.spoke + INTERVAL:
            return
        self._here.spoke = now
        try:
            if not self._writes.report(lease, percent, message):
                self._beat()
        except SQLAlchemyError as error:  # a word that could not be said ends no attempt
            log.info("report.unsaid", row_id=lease.id, error=type(error).__name__)

    @contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop``, in a thread of its own, once the row is taken back.

        The block ends after it: a connection that it cancels may be another row's next.
        """
        thread = threading.Thread(target=stop, name="interrupt", daemon=True)
        try:
            with self._held.watch(self._here.lease, thread.start):
                yield
        finally:
            if thread.ident is not None:
                thread.join(STOPPING)
