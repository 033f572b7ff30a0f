"""What a worker does now and then for a workload, beside the rows that it claims."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from backend.autocommit import Autocommit
from backend.db import Sessions


@dataclass(frozen=True, kw_only=True)
class Duty:
    """Work by the clock, done by every worker, whatever it serves.

    Several workers may be at it at the same time and each may die in the middle: it asks the
    database what there is to do, and takes a lock where one of them is enough.

    Args:
        name: for the log.
        every: how often, give or take a fifth.
        run: ``run(sessions, statements)`` does what is due and answers the names of the queues in
            which rows became ready. It may take its time, but holds no transaction meanwhile.
    """

    name: str
    every: timedelta
    run: Callable[[Sessions, Autocommit], Collection[str]]
