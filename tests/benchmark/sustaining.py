"""Minutes of load: a feeder keeps rows waiting, and the last minute is compared with the first."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmark.contestants import Contestant
from tests.benchmark.crew import Crew, CrewError
from tests.benchmark.measures import Values, rate
from tests.benchmark.server import Database, Server

WAITING: Final = 20_000  # rows that the feeder keeps waiting
AT_ONCE: Final = 5_000  # rows it inserts in one statement
GLANCE: Final = 0.05  # seconds between two of its looks
COMPARED: Final = 0.2  # of the whole time: one minute of five

FEED: Final = """
INSERT INTO bench (status, queue, priority, fairness_key, available_at)
SELECT 'open', 'alpha', (%(priorities)s::smallint[])[1 + n %% cardinality(%(priorities)s)],
  'key 0', coalesce(%(at)s, now())
FROM generate_series(1, %(rows)s) n
"""
SIZES: Final = """
SELECT pg_table_size('bench'), pg_indexes_size('bench'),
  (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
   WHERE inhparent = 'attempts'::regclass)
"""
MEGABYTE: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class Load:
    """How the minutes go.

    Args:
        seconds: how long in all.
        pinned: a snapshot taken at the start is kept open to the end, so that nothing that dies
            in between can be cleaned away.
        priorities: the rows' priorities, in turn.
        one_time: all rows share one ``available_at``, as those of one bulk insert do.
    """

    seconds: float
    pinned: bool = False
    priorities: Sequence[int] = (5,)
    one_time: bool = False


def sustain(server: Server, who: Contestant, load: Load) -> Values:
    """Rows a second in the first and the last fifth of the time, their ratio, and sizes in MB."""
    with server.migrated() as database, _feeder(database, load) as feed:
        feed(WAITING)
        since = database.value("SELECT clock_timestamp()")
        with who.crew(database) as crew, _pinned(database) if load.pinned else nullcontext():
            who.begin(database, crew)
            samples = _run(who, database, crew, load, feed)
        settled = samples[-1][1]
        who.verify(database, settled, since)
        with database.cursor() as cursor:
            cursor.execute(SIZES)
            table, indexes, history = (float(size) / MEGABYTE for size in cursor.fetchone())
    window = load.seconds * COMPARED
    first, last = rate(samples, 0.0, window), rate(samples, load.seconds - window, load.seconds)
    return {
        "first_rows_per_s": first, "last_rows_per_s": last, "last_over_first": last / first,
        "table_mb": table, "indexes_mb": indexes, "attempts_mb": history, "rows": settled,
    }  # fmt: skip


def _run(
    who: Contestant, database: Database, crew: Crew, load: Load, feed: "Feed"
) -> list[tuple[float, int]]:
    """Feed for as long as the load says, from the first settled row on."""
    while not who.settled(database, crew):
        _check(crew)
        time.sleep(GLANCE)
    began, samples = time.monotonic(), [(0.0, 0)]
    while samples[-1][0] < load.seconds:
        _check(crew)
        settled = who.settled(database, crew)
        samples.append((time.monotonic() - began, settled))
        while feed.inserted - settled < WAITING:
            feed(AT_ONCE)
        time.sleep(GLANCE)
    return samples[1:]


def _check(crew: Crew) -> None:
    if not crew.alive:
        raise CrewError("a process ended in the middle of the load")


class Feed:
    """Inserts rows, and knows how many it has inserted."""

    def __init__(self, cursor: Any, load: Load) -> None:
        self._cursor = cursor
        self._given = {"priorities": list(load.priorities), "at": None}
        if load.one_time:
            cursor.execute("SELECT now()")
            (self._given["at"],) = cursor.fetchone()
        self.inserted = 0

    def __call__(self, rows: int) -> None:
        self._cursor.execute(FEED, {**self._given, "rows": rows})
        self.inserted += rows


@contextmanager
def _feeder(database: Database, load: Load) -> Iterator[Feed]:
    with database.cursor() as cursor:
        yield Feed(cursor, load)


@contextmanager
def _pinned(database: Database) -> Iterator[None]:
    """Keep open a snapshot that has been used."""
    with database.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1 FROM bench LIMIT 1")
        yield
        cursor.execute("ROLLBACK")
