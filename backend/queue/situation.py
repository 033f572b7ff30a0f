"""What is known of one row when it is to explain itself, and what an explanation is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from backend.queue.lifecycle import SUSPECT_STALLS, Queue

LOCKED: Final = 5.0
"""Seconds a transaction has a row locked before that is worth a word: ours take milliseconds."""

COUNTED: Final = 10_000
"""Rows counted at most when a row is told how many are before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the database says about one row: rows of the statements in ``sql.explaining``.

    ``workers`` serve the queue, the one seen last first; ``holder`` is the worker that holds the
    row, where it is known. ``ahead`` is None where the row does not wait for its turn. ``locker``
    is an open transaction that has the row locked.
    """

    queue: Queue
    row: Row[Any]
    last: Row[Any] | None
    pauses: Sequence[Row[Any]]
    workers: Sequence[Row[Any]]
    holder: Row[Any] | None
    ahead: int | None
    locker: Row[Any] | None

    @property
    def live(self) -> list[Row[Any]]:
        return [worker for worker in self.workers if worker.alive]

    @property
    def suspect(self) -> bool:
        return bool(self.row.stalls >= SUSPECT_STALLS)

    @property
    def blocked(self) -> bool:
        return self.locker is not None and (self.locker.seconds or 0) > LOCKED

    def ago(self, since: datetime) -> float:
        """Seconds from ``since`` to the database's now; negative for what is to come."""
        return float((self.row.now - since).total_seconds())


@dataclass(frozen=True, slots=True)
class Reason:
    """``code`` is stable kebab-case; a datetime in ``facts`` is still one."""

    code: str
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    next_at: datetime | None = None
