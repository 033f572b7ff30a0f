"""Claims rows of one pipeline, hands them to threads, settles what they finished."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import uuid4

import structlog
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lane, Lease, Marks, Request, Seen
from backend.queue.pipeline import GRACE, Pipeline
from workers.assignment import Policy
from workers.circle import Circle
from workers.crew import LOOK, Crew
from workers.database import Stopped, Transactions
from workers.executor import Ended, Executor
from workers.front import Front
from workers.held import Held
from workers.partitions import Partitions
from workers.turning import Result, SteadyTurns

log = structlog.get_logger(__name__)

HANGS: Final = GRACE.total_seconds()
"""Past its steps' limits, and after its lease was taken back, a row that still runs is hung."""
LINGER: Final = 0.002  # seconds that a finished row waits for others to be settled with it
ROUND: Final = 5
"""In how many lease times a round ends, whose every statement may take half of one."""
LATELY: Final = 4
"""Turns. Where rows end at once three batches go round: one is settled, one runs, one waits."""
LOCKED: Final = 0.1  # seconds until a row that somebody has locked is settled


class Producer(threading.Thread):
    """One thread a pipeline: claim → run → settle, the next claim riding with the last settle.

    It holds at most as many rows as its threads or its batch, whichever is more, and in addition
    as many as came to their end in one of the last turns, a batch at most: where rows end quickly,
    the threads find work while the next turn is under way, and where they do not, none waits here
    that another worker might run. They begin on new rows when the next turn has been sent, or is
    not due yet: before, they would only keep the interpreter from the thread that sends it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        executor: Executor,
        *,
        turns: SteadyTurns,
        worker: str,
        transactions: Transactions,
        held: Held,
        policy: Policy,
        partitions: Sequence[str] | None = None,
        became_ready: Callable[[str], None] = lambda _queue: None,
    ) -> None:
        super().__init__(name=f"producer-{pipeline.queue.name}", daemon=True)
        self.queue = pipeline.queue
        self._executor = executor
        self._turns = turns
        self._worker = worker
        self._transactions = transactions
        self._held = held
        self._metrics = executor.metrics
        self._batch = pipeline.batch
        self.capacity = max(policy.concurrency, pipeline.batch)
        self._interval = policy.interval.total_seconds()
        self._ttl = policy.ttl
        self._partitions = Partitions(self.queue, partitions, pipeline.at_once)
        self._became_ready = became_ready
        self._threads = policy.concurrency
        self._longest = sum(s.timeout.total_seconds() for s in pipeline.steps) + HANGS
        self._crew = Crew(self.queue.name, policy.concurrency, self._run_row, batch=self.capacity)
        self._circle = Circle(self.queue, self._partitions)
        self._locked: list[Ended] = []
        self._lately = deque([0], LATELY)
        self._more = False
        self._turned = 0.0
        self._came_round = math.inf
        self._hint = True
        self._draining = False
        self._marks = Marks()
        self._front = Front()
        self._due: float | None = None

    def wake(self) -> None:
        """Rows may have become ready: look at once."""
        with self._crew.changed:
            self._hint = True
            self._crew.changed.notify()

    def expect(self, wait: float | None) -> None:
        """A look has just seen that the next row is ready in ``wait`` seconds; None: that none is.

        As good as an empty claim: the next one is not due before, but for hints, nor before the
        interval is over. What was expected sooner still is: the look may not have seen it.
        """
        with self._crew.changed:
            if wait is not None:
                due = time.monotonic() + max(0.0, wait)
                self._due = due if self._due is None else min(due, self._due)
            self._crew.changed.notify()

    @property
    def hangs(self) -> bool:
        """Every thread works for a lease that is gone, past all the limits its steps have.

        A thread cannot be killed; its process can be, and holds nothing that would be lost.
        """
        with self._crew.changed:
            late = self._crew.begun_before(time.monotonic() - self._longest)
        return sum(not self._held.holds(lease) for lease in late) >= self._threads

    @property
    def held_up(self) -> bool:
        """Its rounds no longer come to an end: it claims nothing, and settles nothing."""
        patience = self._interval + self._ttl.total_seconds() * ROUND
        return time.monotonic() - self._came_round > patience

    def drain(self) -> None:
        """Claim no more; hand back what no thread has begun."""
        with self._crew.changed:
            self._draining = True
            self._hand_back(self._crew.take_back())
            self._crew.changed.notify()

    def _hand_back(self, unstarted: Sequence[Lease]) -> None:
        self._crew.finished += [Ended(leases.released(lease)) for lease in unstarted]

    def run(self) -> None:
        try:
            while not self._drained:
                self._came_round = time.monotonic()
                self._turn()
                self._wait()
        except Stopped:
            pass
        finally:
            self._turns.close()

    @property
    def _drained(self) -> bool:
        unsettled = self._crew.in_flight or self._crew.finished or self._locked
        return self._draining and not unsettled

    def close(self) -> None:
        """Let the idle threads end; only once nobody needs a child that one of them started.

        Linux ends a child that is to die with its parent when the thread ends that started it.
        """
        self._crew.close()

    def _turn(self) -> None:
        """Settle what is finished and, in the same statement, claim what there is room for."""
        with self._crew.changed:
            ended = self._locked + self._crew.collect()
            room = max(0, self._room)
            self._hint = self._hint and room == 0
        if not ended and room == 0:
            return
        self._lately.append(len(ended))
        claimed = self._settle_and_claim(ended, room)
        self._held.add(claimed)
        with self._crew.changed:
            if self._draining:  # it began while we claimed
                self._hand_back(claimed)
                claimed = []
        self._crew.give(claimed)
        self._turned = time.monotonic()

    @property
    def _room(self) -> int:
        """How many rows the next claim may take."""
        if self._draining:
            return 0
        spare = min(self._batch, max(self._lately))
        return min(self.capacity, self.capacity + spare - self._crew.in_flight)

    def _settle_and_claim(self, ended: list[Ended], room: int) -> list[Lease]:
        if room and not (room := self._partitions.room(room, self._running(ended))):
            self._more, self._due = False, None  # until a row ends: see Partitions.opens
        seen = self._circle.next(room, self._ask, self._look_into) if room else Seen(())
        began = time.monotonic()
        from_front = room > 0 and began >= self._front.due(seen.lanes)
        request = Request(
            queue=self.queue, worker=self._worker, limit=self._partitions.most(room, seen.lanes),
            ttl=self._ttl, token=uuid4(), lanes=seen.lanes,
            marks=Marks() if from_front else self._marks,
        )  # fmt: skip
        if ended or seen.lanes:
            result = self._turns.take(
                ended, request, fallback=self._marks, sending=self._crew.start
            )
        else:  # of a fair queue, in which nothing waits
            result = Result([], seen.at, [])
        if from_front:
            self._marks.replace(request.marks)
            self._front.looked(seen.lanes, began=began, took=result.took)
        self._account(ended, result)
        if room:
            self._metrics.claimed(self.queue.name, len(result.claimed))
            self._look_ahead(ended, result, request, seen)
        return result.claimed

    def _running(self, ended: list[Ended]) -> Iterator[Lease]:
        """What is held and has not come to its end."""
        ending = {one.settlement.lease.id for one in ended}
        return (lease for lease in self._held.of(self.queue) if lease.id not in ending)

    def _ask(self, after: Lane | None) -> Seen:
        self._crew.start()  # to ask may take long
        return self._turns.lanes(after, self._partitions.open)

    def _look_into(self, lanes: Sequence[Lane]) -> Seen:
        return self._turns.open_lanes(lanes, self._marks, self._partitions.open)

    def _account(self, ended: list[Ended], result: Result) -> None:
        self._metrics.settled(self.queue.name, result.stored)
        self._metrics.lost(self.queue.name, result.lost)
        settlements = [one.settlement for one in ended]
        self._locked, gone = [], [settlement.lease for settlement in settlements]
        if result.locked:
            self._locked = [one for one in ended if one.settlement.lease.id in result.locked]
            gone = [lease for lease in gone if lease.id not in result.locked]
        self._held.drop(*gone)
        if any(s.status == self.queue.ready and s.delay is None for s in settlements):
            self._became_ready(self.queue.name)

    def _look_ahead(self, ended: list[Ended], result: Result, request: Request, seen: Seen) -> None:
        """What the claim says of the next one; where it found nothing, when the next row is due.

        Of the lanes of a moment ago an empty claim says nothing.
        """
        if not result.claimed or len(result.claimed) < request.most:
            self._circle.emptied(request.emptied(result.claimed))
        at = seen.at if self.queue.fair else result.at
        self._more = bool(result.claimed) or at is None
        self._due = None
        if self._more or self._crew.finished:
            return
        wait = self._next_due(at) if self.queue.fair and seen.whole else result.due
        waits = [delay.total_seconds() for one in ended if (delay := one.settlement.delay)]
        now = time.monotonic()
        due = [now + seconds for seconds in (*waits, wait) if seconds is not None]
        if request.marks is self._marks or result.repeated:  # a row may lie behind them
            due.append(self._front.due(seen.lanes))
        if not seen.whole:  # others were quicker in these lanes
            due.append(now + LOCKED)
        self._due = min(due, default=None)

    def _next_due(self, after: datetime | None) -> float | None:
        """In how many seconds a row of any lane is due, of those that are yet to become ready."""

        def soonest(session: Session) -> float | None:
            return leases.next_due(
                session, self.queue, partitions=self._partitions.open, after=after
            )

        return self._transactions.repeat(lambda: self._transactions.single(soonest), doing="look")

    def _run_row(self, lease: Lease) -> Ended | None:
        try:
            return self._executor.run(lease) if self._held.holds(lease) else None
        except BaseException:
            # Not the row's fault and not repeatable: its lease runs out and it is tried again.
            log.exception("executor.failed", queue=self.queue.name, row_id=lease.id)
            self._held.drop(lease)
            return None

    def _wait(self) -> None:
        """Until a turn is due; polling is the truth, whatever hints come."""
        with self._crew.changed:
            while (pause := self._pause()) > 0:
                self._came_round = time.monotonic()
                look_again = self._crew.call() and pause > LOOK
                if not self._crew.changed.wait(LOOK if look_again else pause) and not look_again:
                    return

    def _pause(self) -> float:
        """Seconds until the next turn is due, if nothing happens."""
        crew, room = self._crew, self._room
        if self._draining or self._locked:
            return 0.0 if crew.finished else LOCKED
        settled_whole = not crew.in_flight or len(crew.finished) >= self.capacity
        claimed_whole = room >= self.capacity and self._more
        if (crew.finished and settled_whole) or claimed_whole or (room > 0 and self._hint):
            return 0.0
        if room > 0 and self._partitions.opens(self._held.of(self.queue)):
            return 0.0
        if crew.finished:
            return crew.finished_since + LINGER - time.monotonic()
        if room > 0 and self._more:
            return self._turned + LINGER - time.monotonic()
        due = self._interval if self._due is None else max(self._due - time.monotonic(), 0.01)
        return min(self._interval, due) if room > 0 else self._interval
