"""Carries one lease through its stages: load, run, commit; and says how the attempt ended."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

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
from workers import isolation
from workers.announcing import Announcer
from workers.committing import Committer, Riders, Unstored
from workers.database import Stopped, Transactions, refuses_data
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics
from workers.reports import Reports

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
        self._transactions = transactions
        self._writes = writes or Writes(transactions.engine, ttl=ttl)
        self._committer = Committer(transactions, self._writes, ttl=ttl, beat=beat)
        self._held = held
        self._children = children
        self._announcer = Announcer()
        self._reports = Reports(self._writes, held, beat=beat)
        self.metrics = metrics
        # What no step needs is not made for each row: that costs a tenth of what a row does here.
        bulk = _any(pipeline, lambda step: step.bulk is not None)
        self._work = self._with_scratch if bulk else self._through_stages
        self._loads = pipeline.load is not None or pipeline.read is not None
        self._riders = self._committer.riders
        if not _any(pipeline, lambda step: step.rides):
            no_riders = self._committer.riders()
            self._riders = lambda: no_riders

    def run(self, lease: Lease) -> "Ended | None":
        """Work on ``lease`` until its attempt ends.

        Returns:
            How to settle it, or None where it was settled already (with its domain rows) or
            the lease is gone.
        """
        began = time.monotonic()
        steps: list[tuple[str, float]] = []
        try:
            settlement, stored = self._work(lease, steps)
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

    def _with_scratch(
        self, lease: Lease, steps: list[tuple[str, float]]
    ) -> tuple[Settlement, bool]:
        with ExitStack() as scratch:
            return self._through_stages(lease, steps, scratch)

    def _through_stages(
        self, lease: Lease, steps: list[tuple[str, float]], scratch: ExitStack | None = None
    ) -> tuple[Settlement, bool]:
        """How it ends, and whether that is stored already; ``steps`` tells what was run.

        What has to outlive its step is in ``scratch``.
        """
        snapshot: Any = None if self._loads else lease
        riders = self._riders()
        while (stage := lease.next_stage) is not None:
            began = time.monotonic()
            try:
                snapshot = self._read(lease) if snapshot is None else snapshot
                step = self._pipeline.step(stage).chosen(snapshot)
                step, folder = (step, None) if step.bulk is None else _with_folder(step, scratch)
                lease, outcome = self._perform(step, stage, lease, snapshot, riders, folder)
            except (LeaseLost, Stopped):
                raise
            except BaseException as error:  # one that exits the interpreter as well
                if not self._held.holds(lease):  # it may be why: a lost row's child is killed
                    raise LeaseLost(_taken_back(lease, stage)) from error
                return self._failed(lease, error, riders), False
            finally:
                steps.append((stage.name, time.monotonic() - began))
            if not self._held.holds(lease):
                raise LeaseLost(_taken_back(lease, stage))
            try:
                if not isinstance(outcome, Done):
                    return self._refuse(step, lease, outcome, riders)
                if lease.queue.next_stage(stage.name) is None:
                    return self._committer.settle(step, leases.done(lease), outcome.result, riders)
                seconds = steps[-1][1]
                lease, snapshot = self._pass_on(
                    step, lease, snapshot, outcome.result, seconds, riders
                )
            except (LeaseLost, Stopped):
                raise
            except Exception as error:  # noqa: BLE001 - every error of a save ends its attempt, too
                return unstored(lease, stage.name, error), False
        return leases.done(lease), False

    def _pass_on(
        self, step: Step, lease: Lease, snapshot: Any, result: Any, seconds: float, riders: Riders
    ) -> tuple[Lease, Any]:
        """Store what the step found, or let it wait; answers what the next one is given."""
        if self._committer.rides(step, lease, seconds):
            after, answered = self._committer.wait(step, lease, result, riders)
        else:
            after, answered = self._committer.commit(step, lease, result, riders)
        carried = step.carry(snapshot, result, answered) if step.carry else None
        if carried is None:  # it is to be read, and so has to be there
            self._committer.store(riders)
        if not riders.finished:
            self._held.advance(after)
        return after, carried

    def _perform(
        self,
        step: Step,
        stage: Stage,
        lease: Lease,
        snapshot: Any,
        riders: Riders,
        folder: Path | None,
    ) -> tuple[Lease, Outcome]:
        """Run one step."""
        rests = lease.status != stage.status  # between two stages
        if riders.finished:
            return self._perform_with(riders, step, stage, lease, snapshot, folder, rests=rests)
        if rests and step.isolation is Isolation.THREAD:
            self._begin(step, stage, lease)
        return self._run(step, stage, lease, snapshot, folder)

    def _perform_with(
        self,
        riders: Riders,
        step: Step,
        stage: Stage,
        lease: Lease,
        snapshot: Any,
        folder: Path | None,
        *,
        rests: bool,
    ) -> tuple[Lease, Outcome]:
        """What waits to be stored with a step waits no longer than that is quick."""

        def store() -> bool:
            return riders.store() and (not rests or self._announce(stage, lease))

        with self._announcer.during(store) as begin:
            begin()
            return self._run(step, stage, lease, snapshot, folder)

    def _run(
        self, step: Step, stage: Stage, lease: Lease, snapshot: Any, folder: Path | None
    ) -> tuple[Lease, Outcome]:
        entered = lease
        if lease.status != stage.status:
            entered = replace(lease, status=stage.status)
        self._reports.about(entered)
        if step.isolation is Isolation.PROCESS:
            return entered, self._run_child(step, stage, lease, snapshot, folder)
        began = time.monotonic()
        outcome = step.run(snapshot, self._pipeline.tools)
        if time.monotonic() - began > step.timeout.total_seconds():
            raise TimedOut(f"{step.stage} took longer than {step.timeout.total_seconds():.0f} s")
        return entered, outcome

    def _run_child(
        self, step: Step, stage: Stage, lease: Lease, snapshot: Any, folder: Path | None
    ) -> Outcome:
        """Waiting for a child is no stall: its time without progress counts from its start.

        One that is quick needs no word: the commit says as much.
        """
        with self._announcer.during(lambda: self._announce(stage, lease)) as started:
            return self._children.run(
                step,
                snapshot,
                started=started,
                watch=lambda stop: self._held.watch(lease, stop),
                fresh=lease.suspect,
                folder=folder,
                report=self._reports.report,
            )

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
        if step.write and self._committer.at_once(self._writes.progress, lease, stage.status):
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

    def _refuse(
        self, step: Step, lease: Lease, outcome: Reject | Snooze | Rewind, riders: Riders
    ) -> tuple[Settlement, bool]:
        if isinstance(outcome, Reject):
            refused = leases.failed(lease, "policy", outcome.reason)
            return self._committer.settle(step, refused, outcome.result, riders)
        self._committer.store(riders)
        match outcome:
            case Snooze(delay, reason):
                return leases.snoozed(lease, delay, reason), False
            case Rewind(reason):
                return leases.rewound(lease, reason), False

    def _failed(self, lease: Lease, error: BaseException, riders: Riders) -> Settlement:
        """What went before is kept, if that can be: the next attempt goes on from there."""
        stored = riders.base or lease
        try:
            self._committer.store(riders)
        except (LeaseLost, Stopped):
            raise
        except Exception as why:  # noqa: BLE001 - the step's own error is what counts
            log.info("riders.dropped", row_id=lease.id, error=type(why).__name__)
            lease = stored
        return leases.after_error(lease, error)


@dataclass(slots=True)
class Ended:
    """An attempt that came to its end. ``ran`` is in seconds, as are the ``steps`` it took.

    ``ran`` is None where it was handed back before anything was run.
    """

    settlement: Settlement
    ran: float | None = None
    steps: Sequence[tuple[str, float]] = ()


def _any(pipeline: Pipeline, has: Callable[[Step], bool]) -> bool:
    """Whether a step is known to, or chosen for each row and may."""
    return any(not isinstance(step, Step) or has(step) for step in pipeline.steps)


def _with_folder(step: Step, scratch: ExitStack | None) -> tuple[Step, Path]:
    """A step that stores in bulk knows the folder, which lives until all is stored."""
    assert step.bulk is not None
    assert scratch is not None  # a pipeline that has such a step makes one for each row
    folder = scratch.enter_context(isolation.scratch(step))
    return replace(step, bulk=partial(step.bulk, folder=folder)), folder


def unstored(lease: Lease, doing: str, error: Exception) -> Settlement:
    """How an attempt ends whose result was refused: for good only where its data are at fault."""
    if isinstance(error, Unstored):
        doing, error = error.stage, error.error
    if not refuses_data(error):
        return leases.after_error(lease, error)
    cause = type(getattr(error, "orig", error)).__name__
    return leases.failed(lease, "permanent", f"{doing}: its result cannot be stored: {cause}")


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
        waited_ms=round(lease.waited * 1000),
        ran_ms=round((ended.ran or 0.0) * 1000),
    )
