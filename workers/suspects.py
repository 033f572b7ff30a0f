"""Rows that stalled twice run alone, each in a process of its own (``alone.py``).

Neither this worker's other rows nor other workers wait for them, and no neighbour can be blamed.
"""

import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
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
from workers.endings import signal_name
from workers.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK: Final = 0.2  # seconds between two looks at a process that runs
EVERY: Final = 5.0  # seconds between two looks at what one holds that runs for long
UNTOLD: Final = 30.0  # seconds until it looks by itself: who tells it may be slow, or see nothing
MARGIN: Final = timedelta(minutes=1)  # more to look back for how a process ended
STARTING: Final = 30.0  # seconds after which it must have claimed its row
BACKSTOP: Final = 1.0  # seconds past the grace period in which it is to end by itself


class Suspects(threading.Thread):
    """Runs suspects one after the other, once it is told that there are any, or has found some.

    Args:
        command: of the process; queue, token, name and partitions are appended. Without one
            nothing is done.
    """

    def __init__(
        self,
        assignments: Sequence[Assignment],
        command: Sequence[str],
        *,
        worker: str,
        transactions: Transactions,
        grace: timedelta,
        metrics: Metrics,
    ) -> None:
        super().__init__(name="suspects", daemon=True)
        self._assignments = assignments if command else ()
        self._command = command
        self._worker = worker
        self._transactions = transactions
        self._grace = grace
        self._metrics = metrics
        self._stopped = threading.Event()
        self._told = threading.Event()
        self._queues: Collection[str] = ()

    def attend(self, queues: Collection[str]) -> None:
        """There is a suspect in each of ``queues``, as somebody has just seen."""
        self._queues = queues
        self._told.set()

    def stop(self) -> None:
        """Start no more; the one that runs is told to end."""
        self._stopped.set()
        self._told.set()

    def run(self) -> None:
        while not self._stopped.is_set():
            waiting = self._next()
            while self._serve_each(waiting):
                waiting = self._waiting()

    def _next(self) -> list[Assignment]:
        """Those that it was told of, or that it found where nobody told it anything for long."""
        if not self._told.wait(UNTOLD):
            return self._waiting()
        self._told.clear()
        return [a for a in self._assignments if a.pipeline.queue.name in self._queues]

    def _serve_each(self, waiting: Sequence[Assignment]) -> bool:
        """Run one suspect of each; whether any was to be had."""
        served = [self._serve(one) for one in waiting if not self._stopped.is_set()]
        return any(served)

    def _waiting(self) -> list[Assignment]:
        """Those with a suspect, found in one statement for all."""
        served = {a.pipeline.queue: a.partitions for a in self._assignments}
        if not served:
            return []
        try:
            names = self._transactions.single(lambda session: leases.suspects_wait(session, served))
        except SQLAlchemyError as error:
            log.warning("suspects.failed", error=type(error).__name__)
            return []
        return [a for a in self._assignments if a.pipeline.queue.name in names]

    def _serve(self, assignment: Assignment) -> bool:
        """Run one suspect of ``assignment``; False where it was not to be had."""
        queue = assignment.pipeline.queue
        try:
            return self._run_alone(queue, assignment.partitions or ())
        except (SQLAlchemyError, OSError) as error:  # the database is away, or no process starts
            log.warning("suspects.failed", queue=queue.name, error=type(error).__name__)
            return False

    def _run_alone(self, queue: Queue, partitions: Sequence[str]) -> bool:
        token, name, began = uuid4(), f"{self._worker}-alone", time.monotonic()
        process = subprocess.Popen([*self._command, queue.name, str(token), name, *partitions])
        code = self._ended(process, _Holding(self._transactions, queue, token))
        if code:
            log.warning("suspect.died", queue=queue.name, worker=name, why=_why(code))
        try:
            self._transactions.run(
                partial(
                    _settle_rest, queue=queue, token=token,
                    died=None if self._innocent(code) else _why(code),
                ),
                doing="settle alone",
            )  # fmt: skip
        except Stopped:
            return False  # the lease runs out
        return self._count(queue, token, timedelta(seconds=time.monotonic() - began)) > 0

    def _innocent(self, code: int | None) -> bool:
        """Whether what it still holds is to be handed back: it stopped because it was told to."""
        return code is None or (code == 0 and self._stopped.is_set())

    def _ended(self, process: "subprocess.Popen[bytes]", holding: "_Holding") -> int | None:
        """Its exit code; None where it had to be killed.

        It is told to end when this worker drains, and when its row was taken from it: a step that
        hangs for good must not keep all other suspects waiting.
        """
        while not self._stopped.is_set() and not holding.over():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK)
        process.terminate()
        try:
            return process.wait(self._grace.total_seconds() + BACKSTOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def _count(self, queue: Queue, token: UUID, took: timedelta) -> int:
        """What the process counted went with it: history knows how its attempt ended."""
        look = partial(gauges.ended_under, token=token, within=took + MARGIN)
        ended = self._transactions.once(look)
        for outcome, failure in ended:
            self._metrics.attempt(queue.name, outcome, failure)
        return len(ended)


class _Holding:
    """Looks now and then whether a process that has had its time to claim a row holds one."""

    def __init__(self, transactions: Transactions, queue: Queue, token: UUID) -> None:
        self._transactions = transactions
        self._look = partial(leases.adopt, queue=queue, token=token)
        self._next = time.monotonic() + STARTING

    def over(self) -> bool:
        """Whether it holds none; an unknown answer is a no."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY
        try:
            return not self._transactions.once(self._look)
        except SQLAlchemyError:
            return False


def _why(code: int | None) -> str:
    if not code:
        how = "ended and left it"
    else:
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
    return f"alone in a worker process, which {how}"


def _settle_rest(session: Session, queue: Queue, token: UUID, died: str | None) -> None:
    """What an ended process still holds: handed back, or ``died`` of this cause.

    Now, and not when its lease ends.
    """
    held = leases.adopt(session, queue, token)
    ends = [
        leases.after_error(lease, Died(died)) if died else leases.released(lease) for lease in held
    ]
    leases.settle(session, queue, ends)
