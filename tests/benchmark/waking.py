"""How soon an idle worker begins on a row, and what it costs while there is none."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from backend.autocommit import Autocommit
from backend.db import make_engine
from backend.queue.entry import enqueue
from backend.queue.wake import Notifier
from tests.benchmark import processor
from tests.benchmark.crew import REPOSITORY, Crew, CrewError
from tests.benchmark.enqueueing import KEY, ONE
from tests.benchmark.floor import CHANNEL
from tests.benchmark.measures import Values
from tests.benchmark.server import Database, Server
from tests.benchmark.workload import BENCH

WARM_UP: Final = 5  # rows that are not reported: the worker is still starting
PAUSE: Final = (0.05, 0.1)  # seconds, drawn evenly, so that no periodic chore is hit or missed
PATIENCE: Final = 15.0  # seconds: longer than the longest polling interval
LONGEST: Final = 60.0  # seconds for all of them; 15 where the worker is woken
SETTLE_IN: Final = 5.0  # seconds for a worker to start

WORKER: Final = (sys.executable, "-m", "backend.cli", "worker")


def floor_pickup(server: Server, times: int) -> list[float]:
    """A bare loop in select() that is notified after each commit; milliseconds."""
    with server.migrated() as database, database.cursor() as cursor:

        def put() -> None:
            cursor.execute(ONE, (KEY,))
            cursor.execute("SELECT pg_notify(%s, '')", (CHANNEL,))

        with Crew("floor", [database.plain_url, "--batch", "1", "--listen"]) as crew:
            return _latencies(crew, put, times)


def ours_pickup(server: Server, times: int) -> list[float]:
    """The real worker; the engine's entry, and its notifier after each commit; milliseconds."""
    with server.migrated() as database:
        engine = make_engine(database.url)
        alone = Autocommit(engine, keep=1)
        notifier = Notifier(engine)

        def put() -> None:
            enqueue(alone, BENCH, fairness_key=KEY)
            notifier.ready(BENCH.name)

        with Crew("worker", [database.url, "--tell"]) as crew:
            found = _latencies(crew, put, times)
        notifier.close()
        engine.dispose()
        return found


def _latencies(crew: Crew, put: Callable[[], None], times: int) -> list[float]:
    """From just before each row is put in to the start of its handler, in milliseconds.

    Raises:
        CrewError: it takes so long that nobody can have been woken.
    """
    found: list[float] = []
    ends = time.monotonic() + LONGEST
    for _ in range(WARM_UP + times):
        if time.monotonic() > ends:
            raise CrewError(f"only {len(found)} rows were picked up in {LONGEST:.0f} s")
        began = time.monotonic()
        put()
        found.append(1000 * (float(crew.hear(PATIENCE)) - began))
        time.sleep(random.uniform(*PAUSE))
    return found[WARM_UP:]


def idle(server: Server, seconds: float) -> Values:
    """The product's own worker with all that it can serve, and nothing to do.

    Statements are counted in the server's log, where everything is written that it is asked:
    BEGIN, COMMIT and each part of a message with several statements count as one each.
    """
    with (
        server.migrated() as database,
        server.statements_logged() as statements,
        product_worker(database) as pid,
    ):
        time.sleep(SETTLE_IN)
        asked, spent = statements(), processor.family_seconds(pid)
        time.sleep(seconds)
        asked, spent = statements() - asked, processor.family_seconds(pid) - spent
    return {"statements_per_s": asked / seconds, "cpu_percent": 100 * spent / seconds}


@contextmanager
def product_worker(database: Database) -> Iterator[int]:
    environment = {
        "PATH": os.environ["PATH"], "DATABASE_URL": database.url, "WORKER_TYPE": "all",
        "SOURCE_REPOSITORY_URL": "https://registry.example.test/", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    worker = subprocess.Popen(WORKER, cwd=REPOSITORY, env=environment)
    try:
        yield worker.pid
        if worker.poll() is not None:
            raise CrewError(f"the worker ended with {worker.returncode}")
    finally:
        worker.terminate()
        worker.wait()
