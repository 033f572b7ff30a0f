"""What one primary pays for a row, and what a worker takes of it: figures of docs/scaling.md.

``python -m tests.benchmark.scaling [figure …]`` starts a durable server of its own; a figure is
log, history, worker, pooler or distance. Linux only: memory is read from ``/proc``.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.benchmark import packages, seeding
from tests.benchmark.contestants import Ours
from tests.benchmark.crew import Crew
from tests.benchmark.draining import drain
from tests.benchmark.measures import Values
from tests.benchmark.processor import family_seconds, usage
from tests.benchmark.server import Database, Server
from tests.benchmark.waking import product_worker
from tests.benchmark.ways import distant, pooled, round_trip

ROWS: Final = 50_000
LINES: Final = 1_000_000
ROUNDS: Final = 3
SETTLE_IN: Final = 45.0
"""Seconds until a worker has opened what it keeps, and its children have rehearsed."""
IDLE: Final = 60.0  # seconds
GLANCE: Final = 0.2  # seconds between two looks at connections and memory
POOL: Final = 10  # connections of the pooler's own
DELAYS: Final = (0.0, 0.05)  # seconds one way

LOG: Final = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
IMAGES: Final = "SELECT wal_fpi FROM pg_stat_wal"
COMMITS: Final = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
SESSIONS: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND application_name NOT IN ('', 'lockkeeper')
"""
"""Of workers, which have names of their own."""
HISTORY: Final = """
INSERT INTO attempts (queue, row_id, token, worker, attempt, outcome, started_at, ended_at)
SELECT 'bench', n, gen_random_uuid(), 'worker', 1, 'done', at, at
FROM (SELECT n, now() - n * interval '1 us' AS at FROM generate_series(1, %(lines)s) n) lines
"""


@dataclass
class Spent:
    """Bytes of write-ahead log, images of whole pages in it, transactions, seconds."""

    log: float = 0
    images: float = 0
    commits: float = 0
    seconds: float = 0


@contextmanager
def spending(database: Database) -> Iterator[Spent]:
    """Filled in at the end."""
    questions = (LOG, IMAGES, COMMITS)
    before = [float(database.value(question)) for question in questions]
    spent, began = Spent(), time.monotonic()
    yield spent
    spent.seconds = time.monotonic() - began
    after = [float(database.value(question)) for question in questions]
    spent.log, spent.images, spent.commits = (b - a for a, b in zip(before, after, strict=True))


def log(server: Server) -> dict[str, Values]:
    """What a row writes from its enqueueing to its settlement, with its line of history."""
    found = {}
    for batch, checkpointed in ((100, False), (100, True), (1, False)):
        rows = ROWS if batch > 1 else ROWS // 10
        with server.migrated() as database:
            with spending(database) as entered, database.cursor() as cursor:
                cursor.execute(seeding.WAITING, {"rows": rows, "priorities": [5], "keys": 1})
            with database.cursor() as cursor:
                cursor.execute("VACUUM (ANALYZE) bench")
            if checkpointed:
                checkpoint(server)
            with spending(database) as worked, Ours(batch=batch).crew(database) as crew:
                _to_the_end(database, crew, Ours(batch=batch), rows)
        name = f"batch {batch}" + (", after a checkpoint" if checkpointed else "")
        found[name] = {
            "enqueued_wal_bytes_per_row": entered.log / rows,
            "worked_wal_bytes_per_row": worked.log / rows,
            "page_images_per_row": worked.images / rows,
            "transactions_per_row": worked.commits / rows,
        }
    return found


def checkpoint(server: Server) -> None:
    """DROP DATABASE makes one, and needs no superuser."""
    with server.empty():
        pass


def _to_the_end(database: Database, crew: Crew, who: Ours, rows: int) -> None:
    since = database.value("SELECT clock_timestamp()")
    who.begin(database, crew)
    while who.settled(database, crew) < rows:
        assert crew.alive
        time.sleep(GLANCE)
    crew.__exit__()
    who.verify(database, rows, since)


def history(server: Server) -> Values:
    """Forgetting a million lines of history: by DELETE, and as a week that is dropped."""
    with server.migrated() as database, database.cursor() as cursor:
        cursor.execute(HISTORY, {"lines": LINES})
        week = database.value("SELECT CAST(CAST(max(tableoid) AS regclass) AS text) FROM attempts")
        size = database.value("SELECT pg_total_relation_size(%s::regclass)", (week,))
        with spending(database) as deleted:
            cursor.execute("DELETE FROM attempts")
        with spending(database) as vacuumed:
            cursor.execute("VACUUM attempts")
        cursor.execute(HISTORY, {"lines": LINES})
        with spending(database) as dropped:
            cursor.execute(f"DROP TABLE {week}")
    return {
        "bytes_per_line": size / LINES,
        "delete_s": deleted.seconds, "delete_wal_bytes_per_line": deleted.log / LINES,
        "vacuum_s": vacuumed.seconds, "vacuum_wal_bytes_per_line": vacuumed.log / LINES,
        "drop_s": dropped.seconds, "drop_wal_bytes": dropped.log,
    }  # fmt: skip


@dataclass
class Watch:
    """The most that was seen of each."""

    connections: int = 0
    backend_mb: float = 0
    worker_mb: float = 0


@contextmanager
def watching(database: Database) -> Iterator[Watch]:
    """Connections and memory of this process's workers, until the end."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        with database.cursor() as cursor:
            while not ended.wait(GLANCE):
                cursor.execute(SESSIONS)
                backends = [pid for (pid,) in cursor.fetchall()]
                watch.connections = max(watch.connections, len(backends))
                each = median(map(own_mb, backends)) if backends else 0
                watch.backend_mb = max(watch.backend_mb, each)
                watch.worker_mb = max(watch.worker_mb, sum(map(shared_mb, workers())))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield watch
    finally:
        ended.set()
        looking.join()


def workers() -> list[int]:
    """Children of this process that are workers, and theirs."""
    families = {os.getpid()}
    found: list[int] = []
    for pid in sorted(int(e.name) for e in Path("/proc").iterdir() if e.name.isdecimal()):
        used = usage(pid)
        if used and used.parent in families and (found or b"\0worker" in _command(pid)):
            families.add(pid)
            found.append(pid)
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def own_mb(pid: int) -> float:
    """Memory that is no file's and no other process's: what one more backend takes."""
    return _mapped(pid, "Pss_Anon")


def shared_mb(pid: int) -> float:
    """Its share of what it maps: adds up over processes."""
    return _mapped(pid, "Pss")


def _mapped(pid: int, name: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def worker(server: Server) -> dict[str, Any]:
    """Connections and memory of a worker that serves everything: idle, and vetting packages."""
    with (
        server.migrated() as database,
        server.statements_logged() as statements,
        product_worker(database) as pid,
    ):
        time.sleep(SETTLE_IN)
        asked, spent = statements(), family_seconds(pid)
        time.sleep(IDLE)
        asked, spent = statements() - asked, family_seconds(pid) - spent
        with watching(database) as idle:
            time.sleep(5 * GLANCE)
    # Migrated already: what that writes is no package's.
    with server.migrated() as database, watching(database) as busy, spending(database) as vetting:
        rates = packages.measure(database.url, quick=True)
    vetted = packages.QUICK * (1 + packages.QUICK_ROUNDS)
    return {
        "idle": vars(idle), "vetting packages": vars(busy),
        "idle_statements_per_s": asked / IDLE, "idle_cpu_percent": 100 * spent / IDLE,
        "packages_per_s": rates["packages_per_s"],
        "server_cpu_ms_per_package": rates["server_cpu_ms_per_package"],
        "transactions_per_package": rates["transactions_per_package"],
        "wal_kb_per_package": vetting.log / vetted / 1000,
    }  # fmt: skip


def pooler(server: Server) -> dict[str, Values]:
    """A drain straight, and through pgBouncer in transaction mode, in turn."""
    with pooled(server.admin, POOL) as port:
        return in_turn(server, {
            "straight": Ours(batch=100), "through pgBouncer": Ours(batch=100, port=port),
            "straight, batch 500": Ours(batch=500),
            "through pgBouncer, batch 500": Ours(batch=500, port=port),
        })  # fmt: skip


def distance(server: Server) -> dict[str, Values]:
    """A drain with the server farther away, by one process and by two, in turn."""
    crews = ((100, 1), (100, 2), (500, 1))
    with ExitStack() as resources:
        ports = {d: resources.enter_context(distant(server.admin, d)) for d in DELAYS}
        away = {delay: round_trip(server.admin.at(port)) for delay, port in ports.items()}
        return in_turn(server, {
            f"{away[delay]:.1f} ms, batch {batch}, processes {processes}":
                Ours(batch=batch, processes=processes, port=port)
            for delay, port in ports.items() for batch, processes in crews
        })  # fmt: skip


def in_turn(server: Server, crews: Mapping[str, Ours]) -> dict[str, Values]:
    """Medians of some rounds, in each of which every crew drains."""
    rounds: dict[str, list[Values]] = {name: [] for name in crews}
    for _ in range(ROUNDS):
        for name, who in crews.items():
            rounds[name].append(drain(server, who, ROWS))
    return {name: medians(found) for name, found in rounds.items()}


def medians(rounds: list[Values]) -> Values:
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


FIGURES: Final[dict[str, Callable[[Server], Any]]] = {
    "log": log, "history": history, "worker": worker, "pooler": pooler,
    "distance": distance,
}  # fmt: skip


def main() -> None:
    asked = sys.argv[1:] or list(FIGURES)
    with Server() as server:
        for name in asked:
            sys.stdout.write(json.dumps({name: FIGURES[name](server)}, indent=2) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
