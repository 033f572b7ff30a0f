"""Renews all held leases in one statement a queue, and says that this worker lives."""

import math
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.queue import fleet, leases
from backend.queue.lifecycle import Queue
from workers.database import Transactions
from workers.held import Held
from workers.metrics import Metrics

log = structlog.get_logger(__name__)


class Heartbeat(threading.Thread):
    """Beats every quarter of the lease time; a beat that failed is repeated at once."""

    def __init__(
        self,
        queues: Sequence[Queue],
        me: fleet.Worker,
        *,
        transactions: Transactions,
        held: Held,
        ttl: timedelta,
        metrics: Metrics,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._queues = queues
        self._me = me
        self._transactions = transactions
        self._held = held
        self._ttl = ttl
        self._metrics = metrics
        self._period = ttl.total_seconds() / 4
        self._stopped = threading.Event()
        self._due = threading.Event()
        self._last = -math.inf
        self.draining = False

    @property
    def silence(self) -> float:
        """Seconds since the database last took a beat; infinite before the first."""
        return time.monotonic() - self._last

    def stop(self) -> None:
        self._stopped.set()
        self._due.set()

    def beat(self) -> None:
        """Beat at once, and not only when the next beat is due."""
        self._due.set()

    def run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self._due.clear()
            pause = self._period
            try:
                self._send()
                self._last = time.monotonic()
            except SQLAlchemyError as error:
                log.warning("heartbeat.failed", error=type(error).__name__)
                self._metrics.heartbeat_failed()
                pause = min(0.5, self._period)
            self._due.wait(max(0.0, pause - (time.monotonic() - began)))

    def _send(self) -> None:
        """Where nothing is held there is one statement to send, which needs no BEGIN and COMMIT."""
        send = self._transactions.once if len(self._held) else self._transactions.single
        send(self._beat)

    def _beat(self, session: Session) -> None:
        self._me.held = len(self._held)
        self._me.draining = self.draining
        for queue in self._queues:
            mine = self._held.of(queue)
            lost = leases.heartbeat(session, queue, mine, ttl=self._ttl)
            for lease in mine:
                if lease.id in lost:  # or settled a moment ago: its executor knows which
                    self._held.drop(lease)
        fleet.beat(session, self._me, ttl=self._ttl)
