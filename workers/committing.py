"""Stores what the steps of a row found: each step's rows with its fence, in one transaction.

The rows of a quick step ride with those of the next one, where it allows that: a commit is
dearer than what such steps do. Until then the row stands where it stood; whoever takes it over
runs them again. They wait for a quarter of a second at most: :meth:`Riders.store` is what the
announcer says then.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lease, Settlement
from backend.queue.pipeline import Step
from backend.queue.retry import LeaseLost
from backend.queue.writes import Write, Writes, together
from workers.announcing import PATIENCE
from workers.database import Stopped, Transactions

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A step that is not stored yet. ``lease`` is as it stood before the step."""

    step: Step
    lease: Lease
    result: Any
    write: Write


class Unstored(Exception):
    """The database refused what ``stage`` found; ``error`` says why."""

    def __init__(self, stage: str, error: Exception) -> None:
        super().__init__(stage)
        self.stage = stage
        self.error = error


class Riders:
    """The finished steps of one row that wait for the next one's commit.

    Its thread adds and takes them; the announcer's may store them meanwhile.
    """

    __slots__ = ("_doubtful", "_lock", "_writes", "finished")

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self._lock = threading.Lock()
        self.finished: list[Finished] = []
        self._doubtful = False

    @property
    def base(self) -> Lease | None:
        """The lease as the row still has it; None where nothing waits."""
        return self.finished[0].lease if self.finished else None

    def add(self, finished: Finished) -> None:
        self.finished.append(finished)

    def store(self) -> bool:
        """One message stores them all. Always True: where that failed, their own thread does it."""
        with self._lock:
            if self.finished and not self._doubtful:
                self._doubtful = not self._sent()
                if not self._doubtful:
                    self.finished.clear()
            return True

    def _sent(self) -> bool:
        first, last = self.finished[0], self.finished[-1]
        write = together([one.write for one in self.finished])
        try:
            return bool(self._writes.commit(last.lease, write, since=first.lease))
        except Exception as error:  # noqa: BLE001 - whose rows they are will hear of it
            log.info("riders.unstored", row_id=first.lease.id, error=type(error).__name__)
            return False

    def take(self) -> tuple[list[Finished], bool]:
        """Those that are not stored, and whether that is sure: an answer may have been lost."""
        with self._lock:
            taken, self.finished = self.finished, []
            return taken, not self._doubtful


class Committer:
    """Commits and settles for one pipeline's rows; for any number of threads."""

    def __init__(
        self,
        transactions: Transactions,
        writes: Writes,
        *,
        ttl: timedelta,
        beat: Callable[[], None],
    ) -> None:
        """``ttl`` is the lease time; ``beat`` renews all leases soon."""
        self._transactions = transactions
        self._writes = writes
        self._ttl = ttl
        self._beat = beat

    def riders(self) -> Riders:
        return Riders(self._writes)

    def rides(self, step: Step, lease: Lease, seconds: float) -> bool:
        """Whether a step that took so long may wait for the next one's commit.

        Of a row that stalled before, each step is stored at once: it should not stall there twice.
        """
        return step.rides and seconds < PATIENCE and lease.stalls == 0

    def wait(self, step: Step, lease: Lease, result: Any, riders: Riders) -> tuple[Lease, Any]:
        """Let the step's rows ride with the next step's; answers as :meth:`commit` does."""
        assert step.write is not None  # see Step
        write = step.write(result)
        riders.add(Finished(step, lease, result, write))
        base = riders.base or lease
        return leases.advanced(lease), self.at_once(self._writes.ask, base, write)

    def commit(self, step: Step, lease: Lease, result: Any, riders: Riders) -> tuple[Lease, Any]:
        """Store the step's rows, the riders' and the row's next status, fence first.

        Returns:
            The lease as it stands then, and what the step's write answered, if that is known.
        """
        waiting, sure = riders.take()
        if step.write and sure:
            write = together([*(one.write for one in waiting), step.write(result)])
            since = waiting[0].lease if waiting else lease
            if answered := self.at_once(self._writes.commit, lease, write, since):
                return leases.advanced(lease), answered
            if waiting and self._had_committed(lease, step):  # all of it: the answer was lost
                return leases.advanced(lease), None
        self._store_each(waiting)
        return self._commit_alone(step, lease, result), None

    def settle(
        self, step: Step, settlement: Settlement, result: Any, riders: Riders
    ) -> tuple[Settlement, bool]:
        """Settle together with the step's rows; without rows it goes with the next batch.

        Returns:
            The settlement, and whether it is stored already.
        """
        if not step.stores or result is None:
            if riders.finished:
                self.store(riders)
            return settlement, False
        waiting, sure = riders.take()
        if step.write and sure:
            write = together([*(one.write for one in waiting), step.write(result)])
            if self.at_once(self._writes.settle, settlement, write):
                return settlement, True
        self._store_each(waiting)

        def work(session: Session) -> None:
            step.store_bulk(session, settlement.lease, result)
            leases.settle_one(session, settlement)
            step.store(session, settlement.lease, result)

        self._store(work, step, doing="settle")
        return settlement, True

    def store(self, riders: Riders) -> None:
        """Commit what waits, and nothing else."""
        riders.store()
        waiting, _ = riders.take()
        self._store_each(waiting)

    def _store_each(self, waiting: Sequence[Finished]) -> None:
        """In transactions of their own, where one message for all was refused or not answered."""
        if not waiting or self._had_committed(waiting[0].lease, waiting[-1].step):
            return
        for one in waiting:
            self._commit_alone(one.step, one.lease, one.result)

    def _commit_alone(self, step: Step, lease: Lease, result: Any) -> Lease:
        def work(session: Session) -> Lease:
            step.store_bulk(session, lease, result)
            began = time.monotonic()
            committed = leases.commit(session, lease)
            step.store(session, lease, result)
            if time.monotonic() - began > self._ttl.total_seconds() / 4:
                # Its lock kept the heartbeat from the row, whose lease may have run out by now.
                leases.heartbeat(session, lease.queue, [lease], ttl=self._ttl)
            return committed

        try:
            return self._store(work, step, doing="commit")
        except LeaseLost:
            # The answer to an earlier try may have been lost after it had committed.
            if not self._had_committed(lease, step):
                raise
            return leases.advanced(lease)

    def _had_committed(self, lease: Lease, step: Step) -> bool:
        return self._transactions.run(
            lambda session: leases.had_committed(session, lease, step.stage), doing="commit"
        )

    def at_once(self, send: Callable[..., T], *what: Any) -> T | None:
        """Try the short way; nothing where the ordinary one has to be gone."""
        try:
            return send(*what)
        except SQLAlchemyError as error:
            code = getattr(getattr(error, "orig", None), "pgcode", None)
            log.info("write.repeated", error=type(error).__name__, code=code)
            self._beat()  # a lock may have kept the heartbeat from the row
            return None

    def _store(self, work: Callable[[Session], T], step: Step, *, doing: str) -> T:
        """While ``work`` waits for somebody's lock, its own keeps the heartbeat from the row."""
        try:
            return self._transactions.run(work, doing=doing, failed=self._beat)
        except (LeaseLost, Stopped):
            raise
        except Exception as error:
            raise Unstored(step.stage, error) from error
