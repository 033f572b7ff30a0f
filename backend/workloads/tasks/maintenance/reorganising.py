"""ANALYZE, VACUUM and REINDEX CONCURRENTLY of our own tables, beside running work.

Each statement stands alone, outside any transaction, and waits two seconds for its lock: where
somebody has the table for longer, it is skipped and that is said. None of them keeps a claim
waiting: they let rows be read and written meanwhile.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from backend.queue.reporting import report
from backend.workloads.tasks.maintenance import relations
from backend.workloads.tasks.maintenance.relations import Table

LOCK_TIMEOUT: Final = "2s"
SMALL: Final = 128 * 1024
"""Bytes of an index: a smaller one has nothing to give back."""

WHY: Final = {
    "55P03": f"somebody had it locked for {LOCK_TIMEOUT}",
    "42501": "this role may not",
    "42P01": "it is gone",
    "42704": "it is gone",
}
"""The server's codes for what is no fault of the task: it is skipped, and the rest is done."""


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
        """Rebuild every index that is not small; leftovers of an earlier time go, and ours."""
        self.drop_leftovers()
        for table in self._counted(tables, 50, 95):
            for index in relations.indexes(self.connection, table):
                if index.valid and not index.exclusion and index.size >= SMALL:
                    self._do("REINDEX INDEX CONCURRENTLY", index.name, permitted=table.permitted)
        self.drop_leftovers()

    def drop_leftovers(self) -> None:
        """One that is being built at this moment is locked, and so stays."""
        for name in relations.leftovers(self.connection):
            if self._do("DROP INDEX CONCURRENTLY", name):
                self.dropped.append(name)

    def _counted(self, tables: list[Table], begin: float, end: float) -> Iterator[Table]:
        """Each, with the share of the task that is done before it."""
        for number, table in enumerate(tables):
            self.percent = begin + (end - begin) * number / len(tables)
            yield table

    def _do(self, command: str, name: str, *, permitted: bool = True) -> bool:
        """Whether it was done, or would be."""
        statement = f"{command} {name}"
        report(self.percent, statement)
        # The server itself skips what is forbidden, with a warning that nobody reads.
        why = self._run(statement) if permitted else WHY["42501"]
        if why is not None:
            self.skipped[statement] = why
            return False
        self.done[command] = self.done.get(command, 0) + 1
        return True

    def _run(self, statement: str) -> str | None:
        """None where it was done; else why not."""
        if time.monotonic() > self.until:
            return "there was no time left"
        if self.dry_run:
            return None
        try:
            self.connection.exec_driver_sql(statement)
        except DBAPIError as error:
            why = WHY.get(getattr(error.orig, "pgcode", None) or "")
            if why is None:
                raise
            return why
        return None
