"""Enqueueing from one client: one row a commit, or many at once."""

import time
from typing import Final

from psycopg2.extras import execute_values

from backend.autocommit import Autocommit
from backend.db import make_engine
from backend.queue.entry import enqueue, enqueue_many
from backend.queue.wake import Notifier
from tests.benchmark.contestants import NotExact
from tests.benchmark.measures import Values
from tests.benchmark.server import Database, Server
from tests.benchmark.workload import BENCH

KEY: Final = "key 0"
PAGE: Final = 1000  # rows of one statement of execute_values; its own 100 is slower
CHUNK: Final = 5000  # rows of one call of ours
ONE: Final = "INSERT INTO bench (status, queue, fairness_key) VALUES ('open', 'alpha', %s)"
MANY: Final = "INSERT INTO bench (status, queue, fairness_key) VALUES %s"
TEMPLATE: Final = "('open', 'alpha', %s)"


def floor_single(server: Server, rows: int) -> Values:
    """psycopg2, one INSERT and one commit a row."""
    with server.migrated() as database, database.cursor() as cursor:
        began = time.monotonic()
        for _ in range(rows):
            cursor.execute(ONE, (KEY,))
        return _rate(database, rows, began)


def floor_bulk(server: Server, rows: int) -> Values:
    """psycopg2's ``execute_values`` in one transaction."""
    given = [(KEY,)] * rows
    with server.migrated() as database, database.cursor() as cursor:
        began = time.monotonic()
        cursor.execute("BEGIN")
        execute_values(cursor, MANY, given, template=TEMPLATE, page_size=PAGE)
        cursor.execute("COMMIT")
        return _rate(database, rows, began)


def ours_single(server: Server, rows: int) -> Values:
    """The engine's entry, each row a transaction by itself, and a hint to workers."""
    with server.migrated() as database:
        engine = make_engine(database.url)
        alone = Autocommit(engine, keep=1)
        notifier = Notifier(engine)
        began = time.monotonic()
        for _ in range(rows):
            enqueue(alone, BENCH, fairness_key=KEY)
            notifier.ready(BENCH.name)
        values = _rate(database, rows, began)
        notifier.close()
        engine.dispose()
        return values


def ours_bulk(server: Server, rows: int) -> Values:
    """The engine's entry for many rows in one transaction."""
    given = [{"fairness_key": KEY}] * rows
    with server.migrated() as database:
        engine = make_engine(database.url)
        notifier = Notifier(engine)
        began = time.monotonic()
        with engine.begin() as connection:
            for start in range(0, rows, CHUNK):
                enqueue_many(connection, BENCH, given[start : start + CHUNK])
        notifier.ready(BENCH.name)
        values = _rate(database, rows, began)
        notifier.close()
        engine.dispose()
        return values


def _rate(database: Database, rows: int, began: float) -> Values:
    seconds = time.monotonic() - began
    if (there := database.value("SELECT count(*) FROM bench")) != rows:
        raise NotExact(f"{there} of {rows} rows are there")
    return {"rows_per_s": rows / seconds}
