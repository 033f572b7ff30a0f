"""What a queue is: a descriptor over a table. Words, stages and policy; no state."""

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Queue:
    """Which rows of ``table`` wait, run and rest, in the domain's own words.

    ``resting`` holds words that are no part of any queue but that rows of the table may bear.
    ``partitions`` names the values of the ``queue`` column where several queues share the
    descriptor. ``fair`` shares the claim between the values of ``fairness_key``.
    """

    name: str
    table: str
    ready: str
    stages: tuple[Stage, ...]
    done: str
    failed: str
    cancelled: str | None = None
    resting: tuple[str, ...] = ()
    partitions: tuple[str, ...] | None = None
    fair: bool = False
    max_attempts: int = 4
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"queue {self.name} has no stage")
        if self.ready in (*self.held, *self.ended):
            raise ValueError(f"queue {self.name}: {self.ready!r} means two things")

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
        return tuple(dict.fromkeys((self.ready, *self.held, *self.ended)))

    @property
    def cancel_word(self) -> str:
        """Where a cancel leads; a lifecycle without a word for it ends in ``failed``."""
        return self.cancelled or self.failed

    def next_stage(self, step: str | None) -> Stage | None:
        """The stage after ``step``; the first for None or an unknown step; None after the last."""
        names = [stage.name for stage in self.stages]
        following = names.index(step) + 1 if step in names else 0
        return self.stages[following] if following < len(names) else None
