"""Claims rows of one pipeline, hands them to threads, settles what they finished."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import Enum
from itertools import count
from typing import Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lane, Lease, Marks, Settlement
from backend.queue.pipeline import Pipeline
from workers.database import Stopped, Transactions
from workers.executor import Executor
from workers.held import Held

log = structlog.get_logger(__name__)

LOOK_FROM_FRONT: Final = 1.0  # seconds between two claims that ignore the marks, at least
SUSPECTS_EVERY: Final = 5.0  # seconds between two looks for rows that must run alone


class Alone(Enum):
    """Whether a row that stalled twice runs alone in this process."""

    NO = "no"
    ASKED = "asked"  # no new claims anywhere; waiting for what runs to finish
    YES = "yes"


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
        self._batch = pipeline.batch
        self._capacity = max(concurrency, pipeline.batch)
        self._interval = interval.total_seconds()
        self._ttl = ttl
        self._partitions = partitions
        self._became_ready = became_ready
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=self.queue.name)
        self._changed = threading.Condition()
        self._unstarted: dict[int, Lease] = {}
        self._finished: list[Settlement] = []
        self._in_flight = 0
        self._hint = False
        self._draining = False
        self._alone = Alone.NO
        self._marks = Marks()
        self._front_due = 0.0
        self._suspects_due = 0.0
        self._due: float | None = None
        self._lane_after: Lane | None = None

    def wake(self) -> None:
        """Rows may have become ready: look at once."""
        with self._changed:
            self._hint = True
            self._changed.notify()

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
            while not (self._draining and self._in_flight == 0 and not self._finished):
                claimed = self._turn()
                if claimed:
                    self._start_rows(claimed)
                else:
                    self._wait()
        except Stopped:
            pass
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> list[Lease]:
        """Settle what is finished and, in the same transaction, claim what there is room for."""
        with self._changed:
            self._hint = False
            settlements, self._finished = self._finished, []
            room = 0 if self._draining else min(self._batch, self._capacity - self._in_flight)
        if self._suspect_waits():
            claimed = self._claim_alone(settlements)
        elif room > 0:
            # Does nothing while another queue's suspect wants the house: settle below all the same.
            claimed = self._held.claiming(lambda: self._settle_and_claim(settlements, room))
        else:
            claimed = []
        self._settle_and_claim(settlements, 0)
        return claimed

    def _settle_and_claim(self, settlements: list[Settlement], room: int) -> list[Lease]:
        if not settlements and room == 0:
            return []
        token, tries = uuid4(), count()

        def work(session: Session) -> list[Lease]:
            leases.settle(session, self.queue, settlements)
            if room == 0:
                return []
            # After a lost answer the first claim may have committed: adopt before claiming.
            adopted = leases.adopt(session, self.queue, token) if next(tries) else []
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
            claimed = []
        self._forget(settlements)
        settlements.clear()
        return claimed

    def _settle_singly(self, settlements: list[Settlement]) -> None:
        """One row's data spoilt the batch: find it, fail it for good, settle its neighbours."""
        for settlement in settlements:
            try:
                self._settle_one(settlement)
            except DBAPIError as error:
                why = f"its result could not be stored: {type(error.orig).__name__}"
                self._settle_one(leases.failed(settlement.lease, "permanent", why))

    def _settle_one(self, settlement: Settlement) -> None:
        self._transactions.run(
            lambda session: leases.settle(session, self.queue, [settlement]), doing="settle"
        )

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

    def _suspect_waits(self) -> bool:
        """Whether a row that stalled twice wants, or has, the whole worker to itself."""
        if self._alone is not Alone.NO or self._draining:
            return self._alone is not Alone.NO
        now = time.monotonic()
        if now < self._suspects_due:
            return False
        self._suspects_due = now + SUSPECTS_EVERY
        found = self._transactions.run(
            lambda session: leases.suspect_waits(session, self.queue, self._partitions),
            doing="look for suspects",
        )
        if found and self._held.ask_alone():
            self._alone = Alone.ASKED
        return self._alone is Alone.ASKED

    def _claim_alone(self, settlements: list[Settlement]) -> list[Lease]:
        """Once the house is empty: one suspect, or back to normal after it."""
        self._settle_and_claim(settlements, 0)
        if not self._held.empty_house:
            return []
        claimed: list[Lease] = []
        if self._alone is Alone.ASKED and not self._draining:
            claimed = self._transactions.run(self._take_suspect(), doing="claim alone")
            self._held.add(claimed)
            self._alone = Alone.YES
        if not claimed:
            self._alone = Alone.NO
            self._suspects_due = 0.0  # there may be another one
            self._held.end_alone()
        return claimed

    def _take_suspect(self) -> Callable[[Session], list[Lease]]:
        token = uuid4()

        def work(session: Session) -> list[Lease]:
            adopted = leases.adopt(session, self.queue, token)
            if adopted:
                return adopted
            lease = leases.claim_suspect(
                session, self.queue, worker=self._worker, ttl=self._ttl, token=token,
                partitions=self._partitions,
            )  # fmt: skip
            return [lease] if lease else []

        return work

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
        settlement: Settlement | None = None
        begun = self._held.begin(lease)
        try:
            if begun:
                settlement = self._executor.run(lease)
        except Exception:
            # Not the row's fault and not repeatable: its lease runs out and it is tried again.
            log.exception("executor.failed", queue=self.queue.name, row_id=lease.id)
            self._held.drop(lease)
        finally:
            if begun:
                self._held.end()
            with self._changed:
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
        if self._draining or self._alone is not Alone.NO:
            return 0.1
        if self._due is None or self._in_flight >= self._capacity:
            return self._interval
        return min(self._interval, max(self._due - time.monotonic(), 0.01))
