"""Carries one lease through its stages: load, run, commit; and says how the attempt ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog
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
from workers.database import Stopped, Transactions, refuses_data
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

T = TypeVar("T")
log = structlog.get_logger(__name__)


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
    ) -> None:
        """``ttl`` is the lease time; ``beat`` renews all leases soon."""
        self._pipeline = pipeline
        self._ttl = ttl
        self._beat = beat
        self._transactions = transactions
        self._held = held
        self._children = children
        self.metrics = metrics

    def run(self, lease: Lease) -> Settlement | None:
        """Work on ``lease`` until its attempt ends.

        Returns:
            How to settle it, or None where it was settled already (with its domain rows) or
            the lease is gone.
        """
        began = time.monotonic()
        try:
            ended = self._through_stages(lease)
        except LeaseLost as lost:
            log.warning("lease.lost", queue=lease.queue.name, row_id=lease.id, detail=str(lost))
            self.metrics.lost(lease.queue.name)
        except Stopped:
            pass  # released, or left to the reaper: the row is safe either way
        else:
            ran = time.monotonic() - began
            _say(ended.settlement, ran=ran)
            self.metrics.ended(ended.settlement, ran=ran)
            if not ended.stored:
                return ended.settlement
            self.metrics.stored([ended.settlement])
        self._held.drop(lease)
        return None

    def _through_stages(self, lease: Lease) -> "Ended":
        while (stage := lease.next_stage) is not None:
            step = self._pipeline.step(stage)
            began = time.monotonic()
            try:
                lease, outcome = self._perform(step, lease)
            except (LeaseLost, Stopped):
                raise
            except BaseException as error:  # one that exits the interpreter as well
                if not self._held.holds(lease):  # it may be why: a lost row's child is killed
                    raise LeaseLost(_taken_back(lease, stage)) from error
                return Ended(leases.after_error(lease, error))
            finally:
                took = time.monotonic() - began
                self.metrics.stepped(lease.queue.name, stage.name, took)
            if not self._held.holds(lease):
                raise LeaseLost(_taken_back(lease, stage))
            try:
                if not isinstance(outcome, Done):
                    return self._refuse(step, lease, outcome)
                if lease.queue.next_stage(stage.name) is None:
                    return self._settle_with(step, leases.done(lease), outcome.result)
                lease = self._commit(step, lease, outcome)
            except (LeaseLost, Stopped):
                raise
            except Exception as error:  # noqa: BLE001 - every error of a save ends its attempt, too
                return Ended(unstored(lease, stage.name, error))
            self._held.advance(lease)
        return Ended(leases.done(lease))

    def _perform(self, step: Step, lease: Lease) -> tuple[Lease, Outcome]:
        outcome: Outcome
        snapshot = self._read(lease)
        if step.isolation is Isolation.PROCESS:
            outcome = self._children.run(
                step,
                snapshot,
                # Waiting for a child is no stall: its time without progress counts from here.
                started=lambda: self._report(step, lease),
                watch=lambda stop: self._held.watch(lease, stop),
                fresh=lease.suspect,
            )
            return self._entered(step, lease), outcome
        self._enter(step, lease)
        began = time.monotonic()
        outcome = step.run(snapshot, self._pipeline.tools)
        if time.monotonic() - began > step.timeout.total_seconds():
            raise TimedOut(f"{step.stage} took longer than {step.timeout.total_seconds():.0f} s")
        return self._entered(step, lease), outcome

    def _enter(self, step: Step, lease: Lease) -> None:
        """Show the stage's own status where the row rests between two stages."""
        if lease.status != self._stage_status(step, lease):
            self._report(step, lease)

    def _report(self, step: Step, lease: Lease) -> None:
        status = self._stage_status(step, lease)
        self._transactions.run(
            lambda session: leases.progress(session, lease, status), doing="progress"
        )

    def _entered(self, step: Step, lease: Lease) -> Lease:
        return replace(lease, status=self._stage_status(step, lease))

    @staticmethod
    def _stage_status(step: Step, lease: Lease) -> str:
        stage = lease.next_stage
        assert stage is not None
        assert stage.name == step.stage
        return stage.status

    def _read(self, lease: Lease) -> Any:
        snapshot = self._transactions.run(
            lambda session: self._pipeline.load(session, lease.id), doing="load"
        )
        if snapshot is None:
            raise LeaseLost(f"row {lease.id} is gone")
        return snapshot

    def _commit(self, step: Step, lease: Lease, outcome: Done) -> Lease:
        """The step's rows and the row's next status in one transaction, fence first."""

        def work(session: Session) -> Lease:
            began = time.monotonic()
            committed = leases.commit(session, lease)
            if step.save is not None:
                step.save(session, lease, outcome.result)
            if time.monotonic() - began > self._ttl.total_seconds() / 4:
                # Its lock kept the heartbeat from the row, whose lease may have run out by now.
                leases.heartbeat(session, lease.queue, [lease], ttl=self._ttl)
            return committed

        try:
            return self._store(work, doing="commit")
        except LeaseLost:
            # The answer to an earlier try may have been lost after it had committed.
            if not self._transactions.run(
                lambda session: leases.had_committed(session, lease, step.stage), doing="commit"
            ):
                raise
            return leases.advanced(lease)

    def _refuse(self, step: Step, lease: Lease, outcome: Reject | Snooze | Rewind) -> "Ended":
        match outcome:
            case Reject(reason, result):
                return self._settle_with(step, leases.failed(lease, "policy", reason), result)
            case Snooze(delay, reason):
                return Ended(leases.snoozed(lease, delay, reason))
            case Rewind(reason):
                return Ended(leases.rewound(lease, reason))

    def _settle_with(self, step: Step, settlement: Settlement, result: Any) -> "Ended":
        """Settle together with the step's rows; without rows it goes with the next batch."""
        if step.save is None or result is None:
            return Ended(settlement)
        save = step.save

        def work(session: Session) -> None:
            leases.settle_one(session, settlement)
            save(session, settlement.lease, result)

        self._store(work, doing="settle")
        return Ended(settlement, stored=True)

    def _store(self, work: Callable[[Session], T], *, doing: str) -> T:
        """While ``work`` waits for somebody's lock, its own keeps the heartbeat from the row."""
        return self._transactions.run(work, doing=doing, failed=self._beat)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended; ``stored`` where it was settled together with its domain rows."""

    settlement: Settlement
    stored: bool = False


def unstored(lease: Lease, doing: str, error: Exception) -> Settlement:
    """How an attempt ends whose result was refused: for good only where its data are at fault."""
    if not refuses_data(error):
        return leases.after_error(lease, error)
    cause = type(getattr(error, "orig", error)).__name__
    return leases.failed(lease, "permanent", f"{doing}: its result cannot be stored: {cause}")


def _taken_back(lease: Lease, stage: Stage) -> str:
    return f"row {lease.id} was taken back while {stage.name} ran"


def _say(settlement: Settlement, *, ran: float) -> None:
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
        ran_ms=round(ran * 1000),
    )
