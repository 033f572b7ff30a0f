"""What a worker does with a row: steps attached to a queue's stages, and what they answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy.orm import Session

from backend.autocommit import Autocommit
from backend.queue.breaker import Breakers
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue, Stage
from backend.queue.writes import Write

SOFT: Final = 0.9
"""Of a step's hard limit, where it names no soft one."""
GRACE: Final = timedelta(seconds=30)
"""How long past a step's hard limit a row may go without progress before it is reaped."""


class Isolation(Enum):
    """Where a step runs."""

    THREAD = "thread"
    PROCESS = "process"
    """Its own process with time and memory limits: for what opens a stranger's bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """The step finished; ``result`` is what its ``save`` writes."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Policy refuses the row: it ends in ``failed`` with ``failure = policy``."""

    reason: str
    result: Any = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now: ready again after ``delay``, no attempt burnt."""

    delay: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class Rewind:
    """The step's inputs are gone (bytes on another host): start again from the first stage."""

    reason: str


Outcome: TypeAlias = Done | Reject | Snooze | Rewind


@dataclass(frozen=True, slots=True)
class Step:
    """Work for one stage.

    Args:
        stage: the stage's name in the queue's lifecycle.
        run: ``run(snapshot, tools) -> Outcome``, outside any transaction; may run twice for one
            row. With ``PROCESS`` it is a module-level function from the snapshot as a JSON object
            to a JSON object, which comes back as ``Done(result)``; the child has neither tools
            nor database, and its module should import little.
        save: ``save(session, lease, result)`` writes the domain rows inside the fenced commit.
        write: ``write(result)`` says what is to be stored as statements that travel with the fence
            in one message. Where the database refuses them, ``save`` is called, or the same
            statements are sent after the fence in a transaction.
        timeout: hard limit of one run.
        soft_timeout: when the step itself is told, and can still clean up; PROCESS only.
        memory: address space of the child in bytes; PROCESS only.
        result: the type a child's answer is validated against; PROCESS only.
        prepare: ``prepare(snapshot, folder)`` runs in the worker and copies what the child needs
            into its scratch folder, unopened: the child's user may read nothing else of the
            worker's. ``Rewind`` where it is gone. PROCESS only.
        rehearse: a module-level function that makes a kept child ready, once and before any row:
            it runs the step's code on bytes of our own, so that what that code imports, compiles
            and remembers is not made anew in each row's fork. PROCESS only.
        carry: ``carry(snapshot, result, answered) -> snapshot`` is what ``load`` would read once
            the step is committed, where that follows from its result: the fence keeps everybody
            else from the row. ``answered`` is the row that ``write`` answered, None where that is
            not known. Without it, or where it gives None, the next step's snapshot is loaded.
        bulk: ``bulk(session, lease, result, *, folder)`` stores many rows from files that the child
            left in its scratch folder, in the transaction of ``save`` but before the fence, whose
            lock would keep the heartbeat from the row: where the fence then finds the lease gone,
            all of it is rolled back. May run again in another transaction. Each of its statements
            must take less than half a lease; the files are a stranger's. PROCESS only.
        rides: where the step was quick, ``write`` may wait for the next step's, and go with it. For
            a step that may well run again: until then nobody else knows that it has run.
    """

    stage: str
    run: Callable[..., Any]
    save: Callable[[Session, Lease, Any], None] | None = None
    timeout: timedelta = timedelta(minutes=5)
    isolation: Isolation = Isolation.THREAD
    memory: int = 512 * 1024 * 1024
    result: Any = None
    prepare: Callable[[Any, Path], Rewind | None] | None = None
    rehearse: Callable[[], None] | None = None
    carry: Callable[[Any, Any, Any], Any] | None = None
    write: Callable[[Any], Write] | None = None
    rides: bool = False
    bulk: Callable[..., None] | None = None
    soft_timeout: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.isolation is Isolation.PROCESS) != (self.result is not None):
            raise ValueError(f"step {self.stage}: exactly a PROCESS step names its result model")
        if self.isolation is Isolation.THREAD and (self.prepare or self.rehearse or self.bulk):
            raise ValueError(f"step {self.stage}: only a PROCESS step has a scratch folder")
        if self.soft_timeout and not self.soft_timeout < self.timeout:
            raise ValueError(f"step {self.stage}: its soft limit is not below its hard one")
        if self.bulk and not self.save:
            raise ValueError(f"step {self.stage}: many rows are stored with a save's transaction")
        if self.rides and self.write is None:
            raise ValueError(f"step {self.stage}: what rides with another step is a write")

    def chosen(self, _snapshot: Any) -> "Step":
        return self

    @property
    def soft_limit(self) -> timedelta:
        return self.soft_timeout or self.timeout * SOFT

    @property
    def stores(self) -> bool:
        """Whether a result brings domain rows."""
        return bool(self.save or self.write)

    def store_bulk(self, session: Session, lease: Lease, result: Any) -> None:
        """Write what comes before the fence, if anything does."""
        if self.bulk:
            self.bulk(session, lease, result)

    def store(self, session: Session, lease: Lease, result: Any) -> None:
        """Write the domain rows, if any, in a transaction that began with the fence."""
        if self.save:
            self.save(session, lease, result)
        elif self.write:
            self.write(result).save(session, lease)


@dataclass(frozen=True, slots=True)
class Choice:
    """Work for one stage that differs from row to row.

    Args:
        stage: the stage's name in the queue's lifecycle.
        of: ``of(snapshot)`` answers the step of a row, or raises what a step may.
        timeout: no step has a longer one.
    """

    stage: str
    of: Callable[[Any], Step]
    timeout: timedelta

    def chosen(self, snapshot: Any) -> Step:
        return self.of(snapshot)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A queue with a step, or a choice of one, for each of its stages.

    ``load(session, row_id)`` reads what the next step needs, in a short transaction of its own;
    None where the row is gone. ``read(statements, row_id)`` does the same with statements that are
    transactions by themselves. Without both a step is given its :class:`Lease`.
    ``batch`` rows are claimed at a time, or as many as there are threads where that is more.
    ``breakers`` are those its steps use. ``serves`` are the partitions that it can work on; all
    where None. ``at_once`` limits how many rows of a partition one worker runs at the same time;
    others are limited by its threads alone.
    """

    queue: Queue
    steps: tuple[Step | Choice, ...]
    load: Callable[[Session, int], Any] | None = None
    read: Callable[[Autocommit, int], Any] | None = None
    tools: Any = None
    batch: int = 10
    breakers: Breakers = field(default_factory=Breakers)
    serves: Sequence[str] | None = None
    at_once: Mapping[str, int] = field(default_factory=dict)
    _by_stage: Mapping[str, Step | Choice] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_stage = {step.stage: step for step in self.steps}
        if list(by_stage) != [stage.name for stage in self.queue.stages]:
            raise ValueError(
                f"pipeline {self.queue.name}: steps {list(by_stage)} do not match the stages"
            )
        object.__setattr__(self, "_by_stage", by_stage)

    def step(self, stage: Stage) -> Step | Choice:
        return self._by_stage[stage.name]

    def horizons(self, stall_timeout: timedelta) -> dict[str, timedelta]:
        """For each held status the longest time a row may go without progress."""
        longest: dict[str, timedelta] = {}
        for stage in self.queue.stages:
            limit = max(stall_timeout, self.step(stage).timeout + GRACE)
            for status in filter(None, (stage.status, stage.leaves)):
                longest[status] = max(limit, longest.get(status, limit))
        return longest
