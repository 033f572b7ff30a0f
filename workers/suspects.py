"""Rows that stalled twice run alone, each in a process of its own (``alone.py``).

Neither this worker's other rows nor other workers wait for them, and no neighbour can be blamed.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.queue import gauges, leases
from backend.queue.lifecycle import Queue
from backend.queue.retry import Died
from workers.assignment import Assignment
from workers.database import Stopped, Transactions
from workers.metrics import Metrics

log = structlog.get_logger(__name__)

EVERY: Final = 5.0  # seconds between two looks that found nothing
LOOK: Final = 0.2  # seconds between two looks at a process that runs
MARGIN: Final = timedelta(minutes=1)  # more to look back for how a process ended
BACKSTOP: Final = 10.0  # seconds past the grace period in which it is to end by itself


class Suspects(threading.Thread):
    """Looks for suspects and runs them one after the other.

    Args:
        command: of the process; queue, token, name and partitions are appended.
    """

    def __init__(
        self,
        assignments: Sequence[Assignment],
        command: Sequence[str],
        *,
        worker: str,
        transactions: Transactions,
        grace: timedelta,
        became_ready: Callable[[str], None],
        metrics: Metrics,
    ) -> None:
        super().__init__(name="suspects", daemon=True)
        self._assignments = assignments
        self._command = command
        self._worker = worker
        self._transactions = transactions
        self._grace = grace
        self._became_ready = became_ready
        self._metrics = metrics
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Start no more; the one that runs is told to end."""
        self._stopped.set()

    def run(self) -> None:
        served = False
        while self._command and not self._stopped.wait(0 if served else EVERY):
            served = False
            for assignment in self._assignments:
                served = self._serve(assignment) or served

    def _serve(self, assignment: Assignment) -> bool:
        """Run one suspect of ``assignment``; False where there was none, or no way to run it."""
        queue = assignment.pipeline.queue
        try:
            waits = self._transactions.once(
                lambda session: leases.suspect_waits(session, queue, assignment.partitions)
            )
        except SQLAlchemyError as error:
            log.warning("suspects.unknown", queue=queue.name, error=type(error).__name__)
            return False
        if not waits or self._stopped.is_set():
            return False
        return self._run_alone(queue, assignment.partitions or ())

    def _run_alone(self, queue: Queue, partitions: Sequence[str]) -> bool:
        token, name, began = uuid4(), f"{self._worker}-alone", time.monotonic()
        process = subprocess.Popen([*self._command, queue.name, str(token), name, *partitions])
        code = self._ended(process)
        if code:
            why = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            )
            log.warning("suspect.died", queue=queue.name, worker=name, why=why)
            self._convict(queue, token, f"alone in a worker process, which {why}")
        self._count(queue, token, timedelta(seconds=time.monotonic() - began))
        return code == 0

    def _ended(self, process: "subprocess.Popen[bytes]") -> int | None:
        """Its exit code; None where it outlived the end of this worker, and goes on by itself."""
        while not self._stopped.is_set():
            try:
                return process.wait(LOOK)
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
        try:
            return process.wait(self._grace.total_seconds() + BACKSTOP)
        except subprocess.TimeoutExpired:
            return None

    def _count(self, queue: Queue, token: UUID, took: timedelta) -> None:
        """What the process counted went with it: history knows how its attempt ended."""
        look = partial(gauges.ended_under, token=token, within=took + MARGIN)
        try:
            for outcome, failure in self._transactions.once(look):
                self._metrics.attempt(queue.name, outcome, failure)
        except SQLAlchemyError as error:
            log.warning("suspect.uncounted", queue=queue.name, error=type(error).__name__)

    def _convict(self, queue: Queue, token: UUID, why: str) -> None:
        """Settle what the dead process held: now, with the cause, and not when its lease ends."""
        try:
            self._transactions.run(partial(_settle_dead, queue=queue, token=token, why=why),
                                   doing="convict")  # fmt: skip
        except Stopped:
            return  # the lease runs out
        self._became_ready(queue.name)


def _settle_dead(session: Session, queue: Queue, token: UUID, why: str) -> None:
    died = [leases.after_error(lease, Died(why)) for lease in leases.adopt(session, queue, token)]
    leases.settle(session, queue, died)
