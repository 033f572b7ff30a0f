"""Claims rows of one pipeline, hands them to threads, settles what they finished."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lane, Lease, Marks, Settlement
from backend.queue.pipeline import GRACE, Pipeline
from workers.database import Stopped, Transactions
from workers.executor import Executor, unstored
from workers.held import Held

log = structlog.get_logger(__name__)

HANGS: Final = GRACE.total_seconds()
"""Past its steps' limits, and after its lease was taken back, a row that still runs is hung."""
LOCKED: Final = 0.1  # seconds until a row that somebody has locked is settled
LOOK_FROM_FRONT: Final = 1.0  # seconds between two claims that ignore the marks, at least


class Producer(threading.Thread):
    """One thread a pipeline: claim → run → settle, the next claim riding with the last settle."""

    def __init__(
        self,
        pipeline: Pipeline,
        executor: Executor,
        *,
        worker: str,
        transactions: Transactions,
        held: Held,
        concurrency: int,
        interval: timedelta,
        ttl: timedelta,
        partitions: Sequence[str] | None = None,
        became_ready: Callable[[str], None] = lambda _queue: None,
    ) -> None:
        super().__init__(name=f"producer-{pipeline.queue.name}", daemon=True)
        self.queue = pipeline.queue
        self._executor = executor
        self._worker = worker
        self._transactions = transactions
        self._held = held
        self._metrics = executor.metrics
        self._batch = pipeline.batch
        self.capacity = max(concurrency, pipeline.batch)
        self._interval = interval.total_seconds()
        self._ttl = ttl
        self._partitions = partitions
        self._became_ready = became_ready
        self._threads = concurrency
        self._longest = sum(s.timeout.total_seconds() for s in pipeline.steps) + HANGS
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=self.queue.name)
        self._changed = threading.Condition()
        self._unstarted: dict[int, Lease] = {}
        self._finished: list[Settlement] = []
        self._locked: list[Settlement] = []
        self._running: dict[Lease, float] = {}
        self._in_flight = 0
        self._hint = False
        self._draining = False
        self._marks = Marks()
        self._front_due = 0.0
        self._due: float | None = None
        self._lane_after: Lane | None = None

    def wake(self) -> None:
        """Rows may have become ready: look at once."""
        with self._changed:
            self._hint = True
            self._changed.notify()

    @property
    def hangs(self) -> bool:
        """Every thread works for a lease that is gone, past all the limits its steps have.

        A thread cannot be killed; its process can be, and holds nothing that would be lost.
        """
        with self._changed:
            late = time.monotonic() - self._longest
            hung = [
                lease
                for lease, began in self._running.items()
                if began < late and not self._held.holds(lease)
            ]
            return len(hung) >= self._threads

    def drain(self) -> None:
        """Claim no more; hand back what no thread has begun."""
        with self._changed:
            self._draining = self._hint = True
            unstarted, self._unstarted = self._unstarted, {}
            self._finished += [leases.released(lease) for lease in unstarted.values()]
            self._in_flight -= len(unstarted)
            self._changed.notify()

    def run(self) -> None:
        try:
            while not self._drained:
                claimed = self._turn()
                if claimed:
                    self._start_rows(claimed)
                else:
                    self._wait()
        except Stopped:
            pass

    @property
    def _drained(self) -> bool:
        unsettled = self._in_flight or self._finished or self._locked
        return self._draining and not unsettled

    def close(self) -> None:
        """Let the idle threads end; only once nobody needs a child that one of them started.

        Linux ends a child that is to die with its parent when the thread ends that started it.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> list[Lease]:
        """Settle what is finished and, in the same transaction, claim what there is room for."""
        with self._changed:
            self._hint = False
            settlements, self._finished = self._locked + self._finished, []
            room = 0 if self._draining else min(self._batch, self.capacity - self._in_flight)
        claimed = self._settle_and_claim(settlements, room)
        self._held.add(claimed)
        return claimed

    def _settle_and_claim(self, settlements: list[Settlement], room: int) -> list[Lease]:
        if not settlements and room == 0:
            return []
        token, tries = uuid4(), count()
        lost: set[int] = set()
        locked: set[int] = set()

        def work(session: Session) -> list[Lease]:
            nonlocal lost, locked
            # Waiting for one that somebody has locked would keep all others waiting.
            lost, locked = leases.settle_free(session, self.queue, settlements)
            again = next(tries) > 0
            if room == 0:
                return []
            # After a lost answer the first claim may have committed: adopt before claiming.
            adopted = leases.adopt(session, self.queue, token) if again else []
            claimed = adopted or self._claim(session, token, room)
            if not claimed:
                self._look_ahead(session)
            return claimed

        try:
            claimed = self._transactions.run(work, doing="settle and claim")
        except DBAPIError as error:
            if not settlements:
                raise
            log.warning("settle.refused", queue=self.queue.name, error=type(error.orig).__name__)
            self._settle_singly(settlements)
            claimed, locked = [], set()
        else:
            # A repeated settle finds its own work done, and its leases gone: they were not lost.
            gone = lost if next(tries) == 1 else set()
            self._count(settlements, gone | locked, claimed, room)
            self._metrics.lost(self.queue.name, len(gone))
        self._locked = [s for s in settlements if s.lease.id in locked]
        self._forget([s for s in settlements if s.lease.id not in locked])
        settlements.clear()
        return claimed

    def _count(
        self, settlements: list[Settlement], but: set[int], claimed: list[Lease], room: int
    ) -> None:
        self._metrics.stored([s for s in settlements if s.lease.id not in but])
        if room:
            self._metrics.claimed(self.queue.name, len(claimed))

    def _settle_singly(self, settlements: list[Settlement]) -> None:
        """One row's data spoilt the batch: find it, end it, settle its neighbours."""
        for settlement in settlements:
            try:
                self._settle_one(settlement)
            except DBAPIError as error:
                self._settle_one(unstored(settlement.lease, "settling", error))

    def _settle_one(self, settlement: Settlement) -> None:
        self._transactions.run(
            lambda session: leases.settle(session, self.queue, [settlement]), doing="settle"
        )
        self._metrics.stored([settlement])

    def _forget(self, settlements: list[Settlement]) -> None:
        for settlement in settlements:
            self._held.drop(settlement.lease)
        if any(s.status == self.queue.ready and s.delay is None for s in settlements):
            self._became_ready(self.queue.name)

    def _claim(self, session: Session, token: UUID, room: int) -> list[Lease]:
        began = time.monotonic()
        from_front = began >= self._front_due
        if from_front:
            self._marks.forget()
        claimed = leases.claim(
            session, self.queue, worker=self._worker, limit=room, ttl=self._ttl, token=token,
            partitions=self._partitions, marks=self._marks, lanes=self._lanes(session, room),
        )  # fmt: skip
        if from_front:
            took = time.monotonic() - began
            self._front_due = began + max(LOOK_FROM_FRONT, 20 * took)
        return claimed

    def _lanes(self, session: Session, room: int) -> list[Lane] | None:
        """Of a fair queue: the next lanes in turn, so that every key gets its share."""
        if not self.queue.fair:
            return None
        lanes = leases.next_lanes(
            session, self.queue, after=self._lane_after, count=room,
            partitions=self._partitions or (),
        )  # fmt: skip
        self._lane_after = lanes[-1] if lanes else None
        return lanes

    def _start_rows(self, claimed: list[Lease]) -> None:
        with self._changed:
            if self._draining:  # it began while we claimed
                self._finished += [leases.released(lease) for lease in claimed]
                return
            self._in_flight += len(claimed)
            self._unstarted.update((lease.id, lease) for lease in claimed)
        for lease in claimed:
            self._pool.submit(self._run_row, lease)

    def _run_row(self, lease: Lease) -> None:
        with self._changed:
            if self._unstarted.pop(lease.id, None) is None:
                return  # drained before a thread was free
            self._running[lease] = time.monotonic()
        settlement: Settlement | None = None
        try:
            if self._held.holds(lease):
                settlement = self._executor.run(lease)
        except BaseException:
            # Not the row's fault and not repeatable: its lease runs out and it is tried again.
            log.exception("executor.failed", queue=self.queue.name, row_id=lease.id)
            self._held.drop(lease)
        finally:
            with self._changed:
                del self._running[lease]
                self._in_flight -= 1
                if settlement is not None:
                    self._finished.append(settlement)
                self._hint = True
                self._changed.notify()

    def _look_ahead(self, session: Session) -> None:
        """When the next row is due; in the empty claim's transaction, whose now() it shares.

        Asked a moment later, a row that became due in between would be seen by neither.
        """
        due = leases.next_due(session, self.queue, partitions=self._partitions)
        self._due = None if due is None else time.monotonic() + due

    def _wait(self) -> None:
        """Until a row ended, a hint came, or the next row is due; polling is the truth."""
        with self._changed:
            self._changed.wait_for(lambda: self._hint or self._finished, self._idle_seconds())

    def _idle_seconds(self) -> float:
        if self._draining or self._locked:
            return LOCKED
        if self._due is None or self._in_flight >= self.capacity:
            return self._interval
        return min(self._interval, max(self._due - time.monotonic(), 0.01))
