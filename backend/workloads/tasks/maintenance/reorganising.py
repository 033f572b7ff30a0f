"""ANALYZE, VACUUM and REINDEX CONCURRENTLY of our own tables, beside running work.

Each statement stands alone, outside any transaction, and waits two seconds for its lock, one that
only measures, too: where somebody has the table for longer, it is skipped and that is said. None of
them keeps a claim waiting: they let rows be read and written meanwhile.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from backend.queue.reporting import report
from backend.workloads.tasks.maintenance import relations
from backend.workloads.tasks.maintenance.relations import Sizes, Table

T = TypeVar("T")

LOCK_TIMEOUT: Final = "2s"
SMALL: Final = 128 * 1024
"""Bytes of an index: a smaller one has nothing to give back."""

WHY: Final = {
    "55P03": f"somebody had it locked for {LOCK_TIMEOUT}",
    "42501": "this role may not",
    "42P01": "it is gone",
    "42704": "it is gone",
    "40P01": "the server ended a deadlock with somebody",
    "53100": "the disk is full",
}
"""The server's codes for what is no fault of the task: it is skipped, and the rest is done."""
ENOUGH: Final = "an invalid index is left that cannot be dropped now"


@dataclass
class Reorganiser:
    """Does it on one connection, and remembers what was done and what was not.

    Args:
        connection: a direct one, in autocommit.
        until: of the monotonic clock; what is not begun by then is left.
        dry_run: only say what would be done.
    """

    connection: Connection
    until: float
    dry_run: bool = False
    percent: float = 0
    """Of the whole task; what is said with each statement."""
    done: dict[str, int] = field(default_factory=dict)
    """How often, by command."""
    dropped: list[str] = field(default_factory=list)
    """Indexes that an interrupted rebuild had left."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Statements, and why they were not done."""

    def __post_init__(self) -> None:
        self.connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        self.connection.exec_driver_sql("SET statement_timeout = 0")

    def analyze(self, tables: list[Table]) -> None:
        for table in self._counted(tables, 0, 95):
            self._do("ANALYZE", table.name, permitted=table.permitted)

    def vacuum(self, tables: list[Table]) -> None:
        """And analyze; of what has partitions these alone have bytes."""
        for table in self._counted(tables, 0, 50):
            command = "ANALYZE" if table.parted else "VACUUM (ANALYZE)"
            self._do(command, table.name, permitted=table.permitted)

    def reindex(self, tables: list[Table]) -> None:
        """Rebuild every index that is not small; leftovers of an earlier time go, and ours.

        An invalid index costs every writer as much as a valid one. Where one that we left cannot be
        dropped (a dump runs, perhaps), it is the last one.
        """
        self.drop_leftovers()
        for table in self._counted(tables, 50, 95):
            for name in self._worth_it(table):
                done = self._do("REINDEX INDEX CONCURRENTLY", name, permitted=table.permitted)
                if not done and not self.drop_leftovers():
                    self.skipped["REINDEX INDEX CONCURRENTLY of what follows"] = ENOUGH
                    return

    def drop_leftovers(self) -> bool:
        """Whether none is left. One that is being built at this moment is locked, and so stays."""
        names = relations.leftovers(self.connection)
        gone = [name for name in names if self._do("DROP INDEX CONCURRENTLY", name)]
        self.dropped += gone
        return len(gone) == len(names)

    def measured(self, tables: list[Table]) -> dict[int, Sizes]:
        """By table; without those that somebody has locked, or that are gone."""
        found = dict[int, Sizes]()
        for table in tables:
            measure = partial(relations.sizes, self.connection, table)
            if (sizes := self._tried(f"measuring {table.name}", measure)) is not None:
                found[table.oid] = sizes
        return found

    def _worth_it(self, table: Table) -> list[str]:
        """Indexes of one table that can be rebuilt, and may give something back."""
        read = partial(relations.indexes, self.connection, table)
        every = self._tried(f"measuring the indexes of {table.name}", read)
        return [
            index.name
            for index in every or ()
            if index.valid and not index.exclusion and index.size >= SMALL
        ]

    def _counted(self, tables: list[Table], begin: float, end: float) -> Iterator[Table]:
        """Each, with the share of the task that is done before it."""
        for number, table in enumerate(tables):
            self.percent = begin + (end - begin) * number / len(tables)
            yield table

    def _do(self, command: str, name: str, *, permitted: bool = True) -> bool:
        """Whether it was done, or would be."""
        statement = f"{command} {name}"
        report(self.percent, statement)
        if not permitted:  # the server itself skips it, with a warning that nobody reads
            self.skipped[statement] = WHY["42501"]
        elif time.monotonic() > self.until:
            self.skipped[statement] = "there was no time left"
        elif self.dry_run or self._tried(statement, partial(self._run, statement)):
            self.done[command] = self.done.get(command, 0) + 1
            return True
        return False

    def _run(self, statement: str) -> bool:
        self.connection.exec_driver_sql(statement)
        return True

    def _tried(self, what: str, do: Callable[[], T]) -> T | None:
        """None where it could not be done: then ``skipped`` says why."""
        try:
            return do()
        except DBAPIError as error:
            self.skipped[what] = why_not(error)
            return None


def why_not(error: DBAPIError) -> str:
    """Why it was skipped. Raises ``error`` where that is a fault of the task."""
    why = WHY.get(getattr(error.orig, "pgcode", None) or "")
    if why is None:
        raise error
    return why
