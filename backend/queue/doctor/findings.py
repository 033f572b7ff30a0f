"""What an examination looks with, and what it finds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy import Table
from sqlalchemy.orm import Session

from backend.db import table_of
from backend.queue.attempts import Attempt
from backend.queue.fleet import QueuePause, Worker
from backend.queue.lifecycle import Queue

ERROR: Final = "error"
WARNING: Final = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``code`` is stable; ``sentence`` says what it is and what to do.

    An error is a broken promise, or work that stands still until a person acts; a warning may
    become one.
    """

    severity: Literal["error", "warning"]
    code: str
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def error(code: str, sentence: str, **facts: Any) -> Finding:
    return Finding("error", code, sentence, facts)


def warning(code: str, sentence: str, **facts: Any) -> Finding:
    return Finding("warning", code, sentence, facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is worth a word."""

    statement: timedelta = timedelta(seconds=3)
    """A question that takes longer is given up, and the finding says so."""
    reaped_within: timedelta = timedelta(minutes=1)
    """After the end of its lease; workers need up to 15 s."""
    progress: timedelta = timedelta(hours=1)
    """Twice the default WORKER_STALL_TIMEOUT."""
    claimed_within: timedelta = timedelta(minutes=5)
    """The longest time in which nothing moves in a queue with due rows and live workers."""
    wait: timedelta = timedelta(hours=1)
    """Of the oldest due row of a queue that moves."""
    unserved: timedelta = timedelta(minutes=1)
    """Due rows without a live worker: longer than a restart takes."""
    rows: int = 10_000
    """Newest rows, and rows at either end of an index, that are looked at."""
    lines: int = 20_000
    """Newest lines of history that are looked at."""
    transaction: timedelta = timedelta(minutes=5)
    transactions: int = 1_000_000
    """How far back in transactions a pinned horizon of unknown age may lie."""
    dead: int = 10_000
    """Dead tuples of one table, and:"""
    dead_share: float = 0.5
    """of its live ones."""
    bloat: int = 16 * 1024 * 1024
    """Bytes of one index, and:"""
    bloat_ratio: float = 4.0
    """of what its entries need."""
    connections: float = 0.8
    """Of those that the server allows to ordinary users."""
    postgresql: int = 14
    """The oldest major version that is still maintained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What runs here: its version, the schema revision it needs, and the tables it declares."""

    version: str
    revision: str
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    session: Session
    queues: Sequence[Queue]
    release: Release | None
    limits: Limits

    @property
    def tables(self) -> list[Table]:
        """All that the release declares; those of the queues where no release is named."""
        if self.release is not None:
            return list(self.release.tables)
        return self.queue_tables

    @property
    def queue_tables(self) -> list[Table]:
        """The queues' own, and the engine's."""
        shared = [table_of(model) for model in (Attempt, Worker, QueuePause)]
        return list(dict.fromkeys([*(queue.rows for queue in self.queues), *shared]))


Check = Callable[[Examination], Iterable[Finding]]


def some(ids: Iterable[object]) -> str:
    """``1, 2, 3``."""
    return ", ".join(str(one) for one in ids)


def rows_of(number: int, ids: Sequence[object], table: str) -> str:
    """``7 rows of probe (1, 2, 3, 4, 5 and more)``."""
    more = " and more" if number > len(ids) else ""
    return f"{number} {'row' if number == 1 else 'rows'} of {table} ({some(ids)}{more})"
