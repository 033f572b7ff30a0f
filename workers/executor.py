"""Carries one lease through its stages: load, run, commit; and says how the attempt ended."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lease, Settlement
from backend.queue.lifecycle import Stage
from backend.queue.pipeline import (
    Done,
    Isolation,
    Outcome,
    Pipeline,
    Reject,
    Rewind,
    Snooze,
    Step,
)
from backend.queue.retry import LeaseLost, TimedOut
from backend.queue.writes import Writes
from workers.announcing import Announcer
from workers.database import Stopped, Transactions, refuses_data
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

T = TypeVar("T")
log = structlog.get_logger(__name__)
LOGGED = logging.getLogger(__name__)  # asking it costs a tenth of a line that nobody wants


class Executor:
    """Runs leases of one pipeline; called from many threads at once."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        transactions: Transactions,
        held: Held,
        children: Children,
        metrics: Metrics,
        ttl: timedelta = leases.DEFAULT_TTL,
        beat: Callable[[], None] = lambda: None,
        writes: Writes | None = None,
    ) -> None:
        """``ttl`` is the lease time; ``beat`` renews all leases soon.

        Executors of one engine share ``writes``: each keeps connections out of the pool.
        """
        self._pipeline = pipeline
        self._ttl = ttl
        self._beat = beat
        self._transactions = transactions
        self._writes = writes or Writes(transactions.engine, ttl=ttl)
        self._held = held
        self._children = children
        self._announcer = Announcer()
        self.metrics = metrics

    def run(self, lease: Lease) -> "Ended | None":
        """Work on ``lease`` until its attempt ends.

        Returns:
            How to settle it, or None where it was settled already (with its domain rows) or
            the lease is gone.
        """
        began, steps = time.monotonic(), list[tuple[str, float]]()
        try:
            settlement, stored = self._through_stages(lease, steps)
        except (LeaseLost, Stopped) as why:
            self._abandon(lease, why, steps)
            return None
        ended = Ended(settlement, time.monotonic() - began, steps)
        if LOGGED.isEnabledFor(logging.INFO):
            _say(ended)
        if not stored:
            return ended
        self.metrics.settled(lease.queue.name, [ended])
        self._held.drop(lease)
        return None

    def _abandon(
        self, lease: Lease, why: LeaseLost | Stopped, steps: list[tuple[str, float]]
    ) -> None:
        """The row is safe either way: another has it, or it is released, or left to the reaper."""
        queue = lease.queue.name
        for name, seconds in steps:
            self.metrics.stepped(queue, name, seconds)
        if isinstance(why, LeaseLost):
            log.warning("lease.lost", queue=queue, row_id=lease.id, detail=str(why))
            self.metrics.lost(queue)
        self._held.drop(lease)

    def _through_stages(
        self, lease: Lease, steps: list[tuple[str, float]]
    ) -> tuple[Settlement, bool]:
        """How it ends, and whether that is stored already; ``steps`` tells what was run."""
        snapshot: Any = None
        while (stage := lease.next_stage) is not None:
            step = self._pipeline.step(stage)
            began = time.monotonic()
            try:
                snapshot = self._read(lease) if snapshot is None else snapshot
                lease, outcome = self._perform(step, stage, lease, snapshot)
            except (LeaseLost, Stopped):
                raise
            except BaseException as error:  # one that exits the interpreter as well
                if not self._held.holds(lease):  # it may be why: a lost row's child is killed
                    raise LeaseLost(_taken_back(lease, stage)) from error
                return leases.after_error(lease, error), False
            finally:
                steps.append((stage.name, time.monotonic() - began))
            if not self._held.holds(lease):
                raise LeaseLost(_taken_back(lease, stage))
            try:
                if not isinstance(outcome, Done):
                    return self._refuse(step, lease, outcome)
                if lease.queue.next_stage(stage.name) is None:
                    return self._settle_with(step, leases.done(lease), outcome.result)
                lease, answered = self._commit(step, lease, outcome)
            except (LeaseLost, Stopped):
                raise
            except Exception as error:  # noqa: BLE001 - every error of a save ends its attempt, too
                return unstored(lease, stage.name, error), False
            self._held.advance(lease)
            snapshot = step.carry(snapshot, outcome.result, answered) if step.carry else None
        return leases.done(lease), False

    def _perform(
        self, step: Step, stage: Stage, lease: Lease, snapshot: Any
    ) -> tuple[Lease, Outcome]:
        outcome: Outcome
        if step.isolation is Isolation.PROCESS:
            # Waiting for a child is no stall: its time without progress counts from its start. One
            # that is quick needs no word: the commit says as much.
            with self._announcer.during(lambda: self._announce(stage, lease)) as started:
                outcome = self._children.run(
                    step,
                    snapshot,
                    started=started,
                    watch=lambda stop: self._held.watch(lease, stop),
                    fresh=lease.suspect,
                )
            return _entered(stage, lease), outcome
        if lease.status != stage.status:  # where the row rests between two stages
            self._begin(step, stage, lease)
        began = time.monotonic()
        outcome = step.run(snapshot, self._pipeline.tools)
        if time.monotonic() - began > step.timeout.total_seconds():
            raise TimedOut(f"{step.stage} took longer than {step.timeout.total_seconds():.0f} s")
        return _entered(stage, lease), outcome

    def _announce(self, stage: Stage, lease: Lease) -> bool:
        """From another thread: the fence knows whether the step is still to be finished.

        False where it could not be said: a row that somebody has locked keeps no other waiting.
        Who runs the step learns of a lost lease at its own next write.
        """
        try:
            self._writes.progress(lease, stage.status)
        except Exception as error:  # noqa: BLE001 - a word that could not be said ends no attempt
            log.info("progress.unsaid", row_id=lease.id, error=type(error).__name__)
            return False
        return True

    def _begin(self, step: Step, stage: Stage, lease: Lease) -> None:
        """Show the stage's own status."""
        if step.write and self._at_once(self._writes.progress, lease, stage.status):
            return
        self._transactions.run(
            lambda session: leases.progress(session, lease, stage.status), doing="progress"
        )

    def _read(self, lease: Lease) -> Any:
        load, read = self._pipeline.load, self._pipeline.read
        if read is not None:
            snapshot = self._transactions.repeat(
                lambda: read(self._writes.statements, lease.id), doing="load"
            )
        elif load is not None:
            snapshot = self._transactions.run(lambda session: load(session, lease.id), doing="load")
        else:
            return lease
        if snapshot is None:
            raise LeaseLost(f"row {lease.id} is gone")
        return snapshot

    def _commit(self, step: Step, lease: Lease, outcome: Done) -> tuple[Lease, Any]:
        """The step's rows and the row's next status in one transaction, fence first.

        Returns:
            The lease as it stands then, and what the step's write answered, if that is known.
        """
        if step.write:
            answered = self._at_once(self._writes.commit, lease, step.write(outcome.result))
            if answered:
                return leases.advanced(lease), answered

        def work(session: Session) -> Lease:
            began = time.monotonic()
            committed = leases.commit(session, lease)
            step.store(session, lease, outcome.result)
            if time.monotonic() - began > self._ttl.total_seconds() / 4:
                # Its lock kept the heartbeat from the row, whose lease may have run out by now.
                leases.heartbeat(session, lease.queue, [lease], ttl=self._ttl)
            return committed

        try:
            return self._store(work, doing="commit"), None
        except LeaseLost:
            # The answer to an earlier try may have been lost after it had committed.
            if not self._transactions.run(
                lambda session: leases.had_committed(session, lease, step.stage), doing="commit"
            ):
                raise
            return leases.advanced(lease), None

    def _refuse(
        self, step: Step, lease: Lease, outcome: Reject | Snooze | Rewind
    ) -> tuple[Settlement, bool]:
        match outcome:
            case Reject(reason, result):
                return self._settle_with(step, leases.failed(lease, "policy", reason), result)
            case Snooze(delay, reason):
                return leases.snoozed(lease, delay, reason), False
            case Rewind(reason):
                return leases.rewound(lease, reason), False

    def _settle_with(
        self, step: Step, settlement: Settlement, result: Any
    ) -> tuple[Settlement, bool]:
        """Settle together with the step's rows; without rows it goes with the next batch."""
        if not step.stores or result is None:
            return settlement, False
        if step.write and self._at_once(self._writes.settle, settlement, step.write(result)):
            return settlement, True

        def work(session: Session) -> None:
            leases.settle_one(session, settlement)
            step.store(session, settlement.lease, result)

        self._store(work, doing="settle")
        return settlement, True

    def _at_once(self, send: Callable[..., T], *what: Any) -> T | None:
        """Try the short way; nothing where the ordinary one has to be gone."""
        try:
            return send(*what)
        except SQLAlchemyError as error:
            code = getattr(getattr(error, "orig", None), "pgcode", None)
            log.info("write.repeated", error=type(error).__name__, code=code)
            self._beat()  # a lock may have kept the heartbeat from the row
            return None

    def _store(self, work: Callable[[Session], T], *, doing: str) -> T:
        """While ``work`` waits for somebody's lock, its own keeps the heartbeat from the row."""
        return self._transactions.run(work, doing=doing, failed=self._beat)


@dataclass(slots=True)
class Ended:
    """An attempt that came to its end. ``ran`` is in seconds, as are the ``steps`` it took.

    ``ran`` is None where it was handed back before anything was run.
    """

    settlement: Settlement
    ran: float | None = None
    steps: Sequence[tuple[str, float]] = ()


def unstored(lease: Lease, doing: str, error: Exception) -> Settlement:
    """How an attempt ends whose result was refused: for good only where its data are at fault."""
    if not refuses_data(error):
        return leases.after_error(lease, error)
    cause = type(getattr(error, "orig", error)).__name__
    return leases.failed(lease, "permanent", f"{doing}: its result cannot be stored: {cause}")


def _entered(stage: Stage, lease: Lease) -> Lease:
    return lease if lease.status == stage.status else replace(lease, status=stage.status)


def _taken_back(lease: Lease, stage: Stage) -> str:
    return f"row {lease.id} was taken back while {stage.name} ran"


def _say(ended: Ended) -> None:
    settlement = ended.settlement
    lease = settlement.lease
    stage = lease.next_stage
    log.info(
        "attempt.settled",
        queue=lease.queue.name,
        row_id=lease.id,
        attempt=lease.attempts,
        step=stage.name if stage else lease.step,
        outcome=settlement.outcome,
        failure=settlement.failure,
        error=settlement.error,
        waited_ms=round(lease.waited.total_seconds() * 1000),
        ran_ms=round((ended.ran or 0.0) * 1000),
    )
