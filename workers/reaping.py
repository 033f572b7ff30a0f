"""Takes back what stalled workers hold, and wakes claimers for it."""

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.queue.pipeline import Pipeline
from backend.queue.reaper import reap, stalled
from workers.database import Transactions
from workers.metrics import Metrics

log = structlog.get_logger(__name__)

EVERY: Final = 2.0  # seconds
SHARE: Final = 20  # at most one twentieth of the time


class Reaper(threading.Thread):
    """Reaps each served queue in which something stalled; looks every two seconds, jittered.

    A reap does nothing until this worker has been in steady contact for one lease time: one that
    comes back from an outage together with all the others blames nobody.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        worker: str,
        transactions: Transactions,
        stall_timeout: timedelta,
        ttl: timedelta,
        became_ready: Callable[[str], None],
        metrics: Metrics,
    ) -> None:
        super().__init__(name="reaper", daemon=True)
        self._pipelines = pipelines
        self._worker = worker
        self._transactions = transactions
        self._horizons = {p.queue: p.horizons(stall_timeout) for p in pipelines}
        self._ttl = ttl
        self._became_ready = became_ready
        self._metrics = metrics
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        pause = EVERY
        while not self._stopped.wait(pause * random.uniform(0.8, 1.2)):
            began = time.monotonic()
            self._reap_all()
            pause = max(EVERY, SHARE * (time.monotonic() - began))

    def _reap_all(self) -> None:
        stalled = self._stalled()
        for pipeline in self._pipelines:
            if pipeline.queue.name not in stalled:
                continue
            try:
                self._reap(pipeline)
            except SQLAlchemyError as error:
                log.warning("reap.failed", queue=pipeline.queue.name, error=type(error).__name__)

    def _stalled(self) -> Collection[str]:
        """Names of queues; all where one of them, locked for long perhaps, spoils the look."""
        try:
            return self._transactions.single(
                lambda session: stalled(session, self._horizons, ttl=self._ttl)
            )
        except SQLAlchemyError as error:
            log.warning("reap.unseen", error=type(error).__name__)
            return [queue.name for queue in self._horizons]

    def _reap(self, pipeline: Pipeline) -> None:
        horizons = self._horizons[pipeline.queue]
        reaped = self._transactions.once(
            lambda session: reap(
                session, pipeline.queue, horizons=horizons, ttl=self._ttl, worker=self._worker
            )
        )
        for row in reaped:
            log.warning("lease.reaped", queue=pipeline.queue.name, row_id=row.id,
                        held_by=row.held_by, failure=row.failure)  # fmt: skip
        if reaped:
            self._metrics.reaped(pipeline.queue.name, reaped)
            self._became_ready(pipeline.queue.name)
