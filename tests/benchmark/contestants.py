"""Who drains the queue: the floor's bare loop, or the real worker."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import Session

from backend.db import make_sessions
from backend.queue import control
from backend.queue.wake import CHANNEL
from tests.benchmark.crew import Crew
from tests.benchmark.server import Database
from tests.benchmark.workload import BENCH

SETTLED: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM attempts_id_seq"
DONE: Final = "SELECT count(*) FROM bench WHERE status = 'closed' AND started_at > %(since)s"
HISTORY: Final = """
SELECT count(*), count(DISTINCT row_id) FROM attempts WHERE outcome = 'done' AND attempt = 1
"""
STRANGE: Final = "SELECT count(*) FROM attempts WHERE outcome NOT IN ('done', 'released')"


class Contestant(Protocol):
    """A crew of one kind, from its start to the proof of what it did."""

    def crew(self, database: Database) -> Crew:
        """Its processes, which do nothing before they are told to begin."""

    def begin(self, database: Database, crew: Crew) -> None: ...

    def settled(self, database: Database, crew: Crew) -> int:
        """Rows settled so far, known without a look at the table."""

    def verify(self, database: Database, rows: int, since: Any) -> None:
        """Raise ``NotExact`` unless at least ``rows`` are done since then, each exactly once.

        Only once the crew is gone.
        """


class NotExact(Exception):
    """Rows were lost or done twice: there is no figure to be had."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """``processes`` bare loops with ``threads`` connections each, ``batch`` rows a turn."""

    batch: int
    processes: int = 1
    threads: int = 1
    stay: bool = False
    """Go on at an empty queue."""

    def crew(self, database: Database) -> Crew:
        options = ["--batch", str(self.batch), "--threads", str(self.threads)]
        stay = ["--stay"] if self.stay else []
        return Crew("floor", [database.plain_url, *options, *stay], self.processes)

    def begin(self, _database: Database, crew: Crew) -> None:
        crew.begin()

    def settled(self, _database: Database, crew: Crew) -> int:
        return crew.settled

    def verify(self, database: Database, rows: int, since: Any) -> None:
        done = database.value(f"{DONE} AND attempts = 1", {"since": since})
        if done < rows:
            raise NotExact(f"{done} of {rows} rows are done")


def _transaction(database: Database) -> AbstractContextManager[Session]:
    return make_sessions(create_engine(database.url, poolclass=NullPool)).begin()


@dataclass(frozen=True, kw_only=True)
class Ours:
    """``processes`` real workers; the queue is paused until they begin."""

    batch: int
    processes: int = 1
    profile: Path | None = None
    """Where to write what the threads of one process did."""
    port: int | None = None
    """Another way to the server, for all but hints."""

    def crew(self, database: Database) -> Crew:
        with _transaction(database) as session:
            control.pause(session, BENCH, by="benchmark")
        options = ["--batch", str(self.batch)]
        if self.profile is not None:
            options += ["--profile", str(self.profile)]
        url = database.url
        if self.port is not None:
            options, url = [*options, "--listen", url], database.at(self.port).url
        return Crew("worker", [url, *options], self.processes)

    def begin(self, database: Database, _crew: Crew) -> None:
        with _transaction(database) as session:
            control.resume(session, BENCH)
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, BENCH.name))

    def settled(self, database: Database, _crew: Crew) -> int:
        return int(database.value(SETTLED))

    def verify(self, database: Database, rows: int, since: Any) -> None:
        done = database.value(f"{DONE} AND attempts = 1", {"since": since})
        with database.cursor() as cursor:
            cursor.execute(HISTORY)
            lines, distinct = cursor.fetchone()
        strange = database.value(STRANGE)
        if done < rows or not done == lines == distinct or strange:
            raise NotExact(
                f"{done} of {rows} rows are done, with {lines} lines of history for {distinct},"
                f" and {strange} that tell of anything else"
            )
