"""One drain: rows are laid down, a crew settles them, the database says when."""

import time
from typing import Final

from tests.benchmark import seeding
from tests.benchmark.contestants import Contestant
from tests.benchmark.crew import Crew, CrewError
from tests.benchmark.measures import Values
from tests.benchmark.server import Database, Server

GLANCE: Final = 0.05  # seconds between two looks at how many rows are settled
LONGEST: Final = 20.0  # seconds for one drain

TOOK: Final = """
SELECT count(*), extract(epoch FROM max(completed_at) - min(started_at))::float8
FROM (SELECT started_at, completed_at FROM bench
      WHERE status = 'closed' AND started_at > %(since)s
      ORDER BY completed_at LIMIT %(rows)s) done
"""
"""By the database's clock: from the first claim to the last settlement of the rows done first."""


def drain(
    server: Server, who: Contestant, rows: int, *, keys: int = 1,
    background: str | None = None, behind: int = 0,
) -> Values:  # fmt: skip
    """Rows a second over the first ``rows`` to be done, and processor seconds per 10,000 rows.

    Where that takes longer than :data:`LONGEST`, over those that are done by then.

    Raises:
        CrewError: a process ended too early.
        NotExact: a row was not done exactly once.
    """
    with server.migrated() as database:
        seeding.lay(database, rows, keys=keys, background=background, behind=behind)
        with who.crew(database) as crew:
            since = database.value("SELECT clock_timestamp()")
            before = (server.processor_seconds(), crew.processor_seconds())
            who.begin(database, crew)
            settled = _wait(who, database, crew, rows)
            after = (server.processor_seconds(), crew.processor_seconds())
        wanted = min(rows, settled)
        who.verify(database, wanted, since)
        with database.cursor() as cursor:
            cursor.execute(TOOK, {"since": since, "rows": wanted})
            done, seconds = cursor.fetchone()
    per_10k = 10_000 / settled
    return {
        "rows_per_s": done / seconds,
        "worker_cpu_s_per_10k": (after[1] - before[1]) * per_10k,
        "server_cpu_s_per_10k": (after[0] - before[0]) * per_10k,
    }


def drain_confined(server: Server, who: Contestant, rows: int, *, processors: int) -> Values:
    """:func:`drain` with so many processors for the server and the crew together.

    Raises:
        processor.TooFew: this machine has not as many.
    """
    with server.confined(processors):
        return drain(server, who, rows)


def _wait(who: Contestant, database: Database, crew: Crew, rows: int) -> int:
    """Until ``rows`` are settled or it takes too long; answers how many are."""
    ends = time.monotonic() + LONGEST
    while (settled := who.settled(database, crew)) < rows and time.monotonic() < ends:
        if not crew.alive:
            raise CrewError(f"only {settled} of {rows} rows were settled")
        time.sleep(GLANCE)
    if settled == 0:
        raise CrewError(f"no row was settled in {LONGEST:.0f} s")
    return settled
