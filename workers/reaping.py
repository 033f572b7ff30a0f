"""Takes back what stalled workers hold, wakes claimers for it, and looks for suspects meanwhile."""

import random
import threading
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.queue.pipeline import Pipeline
from backend.queue.reaper import Looked, look, reap
from workers.assignment import Assignment
from workers.database import Transactions
from workers.metrics import Metrics

log = structlog.get_logger(__name__)

EVERY: Final = 2.0  # seconds
QUIET: Final = 15
"""After so many looks in a row that found nothing held, the next one is after twice that time: less
than a lease, so that none that was taken meanwhile has run out long before."""
SHARE: Final = 20  # at most one twentieth of the time


class Reaper(threading.Thread):
    """Reaps each served queue in which something stalled; looks every two seconds, jittered.

    And half as often once nothing has been held for a while.

    The same look says in which queues there are suspects: ``attend`` is told their names.

    A reap does nothing until this worker has been in steady contact for one lease time: one that
    comes back from an outage together with all the others blames nobody.
    """

    def __init__(
        self,
        assignments: Collection[Assignment],
        *,
        worker: str,
        transactions: Transactions,
        stall_timeout: timedelta,
        ttl: timedelta,
        became_ready: Callable[[str], None],
        attend: Callable[[Collection[str]], None],
        metrics: Metrics,
    ) -> None:
        super().__init__(name="reaper", daemon=True)
        self._pipelines = [a.pipeline for a in assignments]
        self._served = {a.pipeline.queue: a.partitions for a in assignments}
        self._worker = worker
        self._transactions = transactions
        self._horizons = {p.queue: p.horizons(stall_timeout) for p in self._pipelines}
        self._ttl = ttl
        self._became_ready = became_ready
        self._attend = attend
        self._metrics = metrics
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        pause, quiet = EVERY, 0
        while not self._stopped.wait(pause * random.uniform(0.8, 1.2)):
            began = time.monotonic()
            quiet = 0 if self._reap_all() else quiet + 1
            usual = EVERY if quiet < QUIET else EVERY * 2
            pause = max(usual, SHARE * (time.monotonic() - began))

    def _reap_all(self) -> bool:
        """Whether anything is held, or waits to be run alone."""
        looked = self._look()
        if looked.suspects:
            self._attend(looked.suspects)
        for pipeline in self._pipelines:
            if pipeline.queue.name not in looked.stalled:
                continue
            try:
                self._reap(pipeline)
            except SQLAlchemyError as error:
                log.warning("reap.failed", queue=pipeline.queue.name, error=type(error).__name__)
        return bool(looked.held or looked.suspects)

    def _look(self) -> Looked:
        """All are to be reaped where one of them, locked for long perhaps, spoils the look."""
        try:
            return self._transactions.single(
                lambda session: look(session, self._horizons, self._served, ttl=self._ttl)
            )
        except SQLAlchemyError as error:
            log.warning("reap.unseen", error=type(error).__name__)
            every = {queue.name for queue in self._horizons}
            return Looked(every, set(), every)

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
