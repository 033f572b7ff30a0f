"""Takes back what stalled workers hold, and looks at the queues of a worker while it is idle."""

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
from workers.resting import rest

log = structlog.get_logger(__name__)

EVERY: Final = 2.0  # seconds
QUIET: Final = 0.8
"""Of a lease: where a look found nothing held, nothing that is taken later runs out before the next
look, which is so much later. And of a producer's interval, whose look it saves."""
SHARE: Final = 20  # at most one twentieth of the time


class Reaper(threading.Thread):
    """Reaps each served queue in which something stalled; looks every two seconds, jittered.

    And not as often while nothing is held, see :data:`QUIET`, but for hints. Such a look finds out
    as well when the next row of each queue is ready: ``expect`` is told its name and the seconds
    until then, None where no row is to come.

    Each look says in which queues there are suspects: ``attend`` is told their names.

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
        interval: timedelta,
        became_ready: Callable[[str], None],
        attend: Callable[[Collection[str]], None],
        expect: Callable[[str, float | None], None],
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
        self._expect = expect
        self._quiet = max(EVERY, QUIET * min(ttl, interval).total_seconds())
        self._busy = False
        self._metrics = metrics
        self._stopped = threading.Event()
        self._hinted = threading.Event()
        self._hinted.set()

    def stop(self) -> None:
        self._stopped.set()
        self._hinted.set()

    def hint(self) -> None:
        """Rows came in, suspects perhaps: the next look is due as while something is held."""
        self._hinted.set()

    def run(self) -> None:
        pause = EVERY
        while not self._over(pause):
            began = time.monotonic()
            self._reap_all()
            pause = max(EVERY, rest(time.monotonic() - began, share=SHARE))

    def _over(self, pause: float) -> bool:
        """Wait until the next look is due; whether there is to be none."""
        if not self._stopped.wait(pause * random.uniform(0.8, 1.2)) and not self._busy:
            self._hinted.wait(self._quiet - EVERY)
        self._hinted.clear()
        return self._stopped.is_set()

    def _reap_all(self) -> None:
        looked = self._look()
        self._busy = bool(looked.held or looked.suspects)
        for queue, wait in looked.waits.items():
            self._expect(queue, wait)
        for pipeline in self._pipelines:
            if pipeline.queue.name not in looked.stalled:
                continue
            try:
                self._reap(pipeline)
            except SQLAlchemyError as error:
                log.warning("reap.failed", queue=pipeline.queue.name, error=type(error).__name__)

    def _look(self) -> Looked:
        """All are to be reaped where one of them, locked for long perhaps, spoils the look.

        While anything is held, what waits is not asked for: reaping would wait for the answer,
        which may take long beside many rows that are dead, and producers look often enough.
        """
        try:
            looked = self._transactions.single(
                lambda session: look(
                    session, self._horizons, self._served, ttl=self._ttl, waiting=not self._busy
                )
            )
        except SQLAlchemyError as error:
            log.warning("reap.unseen", error=type(error).__name__)
            every = {queue.name for queue in self._horizons}
            return Looked(every, set(), every)
        self._attend(looked.suspects)
        return looked

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
