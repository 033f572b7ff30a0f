"""What a worker does now and then for a workload, beside the rows that it claims."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from backend.autocommit import Autocommit
from backend.db import Sessions

LOOK: Final = timedelta(seconds=5)
"""How often a worker looks which of its duties with a condition are due, give or take a fifth."""


@dataclass(frozen=True, kw_only=True)
class Duty:
    """Work by the clock, done by every worker, whatever it serves.

    Several workers may be at it at the same time and each may die in the middle: it asks the
    database what there is to do, and takes a lock where one of them is enough.

    Args:
        name: for the log.
        every: how often, give or take a fifth; of one with a condition, how soon it is tried
            again where it failed.
        run: ``run(sessions, statements)`` does what is due and answers the names of the queues in
            which rows became ready. It may take its time, but holds no transaction meanwhile.
        due: a condition in SQL, without parameters: whether there is something to do. A worker
            asks for those of all duties in one statement, every :data:`LOOK`, and runs what is due,
            or all where there was no answer.
    """

    name: str
    every: timedelta = LOOK
    run: Callable[[Sessions, Autocommit], Collection[str]]
    due: str | None = None
