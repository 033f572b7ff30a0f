"""What a queue is: a descriptor over a table. Words, stages and policy; no state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import Table

from backend.db import Base
from backend.queue.retry import Backoff

FAILURES: Final = ("policy", "permanent", "exhausted", "timeout", "poison", "cancelled", "human")
PROCESSING_FAILURES: Final = ("permanent", "exhausted", "timeout", "poison")
"""What a person may retry; a policy's or a person's refusal is a verdict, not a failure."""

SUSPECT_STALLS: Final = 2
"""A row with this many stalls is claimed alone; one more stall, while alone, is poison."""

AGING: Final = timedelta(minutes=10)
"""Waiting this long is worth one step of priority, so that the least urgent row runs at last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a lifecycle: its name (stored in ``step``) and the status while it runs.

    ``leaves`` is the status between this stage's commit and the start of the next one, where
    the domain has a word for it.
    """

    name: str
    status: str
    leaves: str | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word says to a person: one sentence on why a row rests there and what comes next."""

    sentence: str
    person: bool = False
    """A person must act before anything more happens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Queue:
    """Which rows of ``table`` wait, run and rest, in the domain's own words.

    ``entering`` holds words that a row may bear before it is work, while what it is made of is
    still being brought: such a row is neither ready, held nor ended, and no worker takes it.
    ``resting`` holds words that are no part of any queue but that rows of the table may bear.
    ``uncancellable`` are held words under which a cancel is refused: what runs there cannot be
    taken back. ``partitions`` names the values of the ``queue`` column where several queues share
    the descriptor. ``fair`` shares the claim between the values of ``fairness_key``. ``meaning``
    explains words to a person, those above all in which a row rests.
    """

    name: str
    table: str
    ready: str
    stages: tuple[Stage, ...]
    done: str
    failed: str
    cancelled: str | None = None
    entering: tuple[str, ...] = ()
    resting: tuple[str, ...] = ()
    uncancellable: tuple[str, ...] = ()
    partitions: tuple[str, ...] | None = None
    fair: bool = False
    max_attempts: int = 4
    backoff: Backoff = field(default_factory=Backoff)
    meaning: Mapping[str, Meaning] = field(default_factory=dict)
    _following: Mapping[str | None, Stage | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"queue {self.name} has no stage")
        if self.ready in (*self.held, *self.ended):
            raise ValueError(f"queue {self.name}: {self.ready!r} means two things")
        if twice := set(self.entering) & {self.ready, *self.held, *self.ended}:
            raise ValueError(f"queue {self.name}: {twice} mean two things")
        if strange := set(self.uncancellable) - set(self.held):
            raise ValueError(f"queue {self.name}: {strange} are no held words")
        following = zip((s.name for s in self.stages), (*self.stages[1:], None), strict=True)
        object.__setattr__(self, "_following", dict(following))

    @property
    def rows(self) -> Table:
        return Base.metadata.tables[self.table]

    @property
    def held(self) -> tuple[str, ...]:
        """Statuses that mean: a worker holds this row."""
        words = [word for s in self.stages for word in (s.status, s.leaves) if word]
        return tuple(dict.fromkeys(words))

    @property
    def ended(self) -> tuple[str, ...]:
        words = (self.done, self.failed, *self.resting)
        return (*words, self.cancelled) if self.cancelled else words

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.entering, self.ready, *self.held, *self.ended)))

    @property
    def cancellable(self) -> tuple[str, ...]:
        """Statuses that a cancel may end."""
        return (self.ready, *(word for word in self.held if word not in self.uncancellable))

    @property
    def cancel_word(self) -> str:
        """Where a cancel leads; a lifecycle without a word for it ends in ``failed``."""
        return self.cancelled or self.failed

    def next_stage(self, step: str | None) -> Stage | None:
        """The stage after ``step``; the first for None or an unknown step; None after the last."""
        return self._following.get(step, self.stages[0])
