"""Uploads: from the bytes of a lock file to the commit of its rows, without the request around it.

    python -m tests.benchmark.upload [--quick]

A lock of 2,300 entries and one of a single entry, each read and stored as the API does it: *new*,
where nobody has ever named one of its packages, and *again*, where the same lock comes once more.
One process, warm. Every figure is a median; processor seconds are this process's own. Round trips
are those of storing.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any, Final

from sqlalchemy import Engine, event

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions, make_engine, make_sessions
from backend.identity import service
from backend.identity.roles import Principal, Role
from backend.migrations.run import upgrade
from backend.workloads.packages import submission
from backend.workloads.packages.lockfile import ParsedLock, parse_lock
from tests.benchmark.server import Server
from tests.benchmark.upload_lock import HOST, lock

ENTRIES: Final = 2_300
LIMIT: Final = timedelta(seconds=60)  # the API's own, of a transaction that does nothing
MAX_AGE: Final = timedelta(days=7)
WARM_UP: Final = 2


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Seconds and processor seconds of parsing and storing, and round trips of the latter."""

    parse: float
    store: float
    parse_cpu: float
    store_cpu: float
    round_trips: float


class Statements(Autocommit):
    """Counts what it is asked for."""

    asked = 0

    def rows(self, statement: Statement, params: Mapping[str, Any]) -> list[Any]:
        self.asked += 1
        return super().rows(statement, params)


class Uploads:
    """One user who uploads lock after lock on a database."""

    def __init__(self, engine: Engine) -> None:
        self._sessions: Sessions = make_sessions(engine, limit=LIMIT)
        self._statements = Statements(engine)
        event.listen(engine, "before_cursor_execute", self._count)
        event.listen(engine, "commit", self._count)
        with self._sessions.begin() as session:
            user = service.create_user(
                session, "benchmark", username="uploader", password_hash="unused", role=Role.USER
            )
            self._user = Principal(user.id, user.username, Role.USER)

    def _count(self, *_arguments: Any) -> None:
        self._statements.asked += 1

    def __call__(self, data: bytes) -> Uploaded:
        started, cpu = time.perf_counter(), time.process_time()
        parsed = parse_lock(
            data, filename="package-lock.json", origins=frozenset({HOST}), max_bytes=len(data)
        )
        between, cpu_between = time.perf_counter(), time.process_time()
        self._statements.asked = 0
        self._store(parsed)
        return Uploaded(
            parse=between - started,
            store=time.perf_counter() - between,
            parse_cpu=cpu_between - cpu,
            store_cpu=time.process_time() - cpu_between,
            round_trips=self._statements.asked,
        )

    def _store(self, parsed: ParsedLock) -> None:
        submission.submit(self._statements, self._sessions, parsed, by=self._user, max_age=MAX_AGE)


def measure(url: str, *, quick: bool) -> dict[str, float]:
    """Figures by name; those of the single entry are in ms, and begin with ``one_``.

    Args:
        url: of a fresh, empty database; SQLAlchemy's, with the driver.
        quick: fewer uploads.
    """
    upgrade(url)
    engine = make_engine(url, application_name="benchmark")
    try:
        upload = Uploads(engine)
        large = _medians(upload, ENTRIES, rounds=3 if quick else 9)
        one = _medians(upload, 1, rounds=50 if quick else 300)
    finally:
        engine.dispose()
    return {
        "entries_per_s": ENTRIES / large["new_both_s"],
        **large,
        **dict(_in_milliseconds(f"one_{name}", value) for name, value in one.items()),
    }


def _in_milliseconds(name: str, value: float) -> tuple[str, float]:
    stem = name.removesuffix("_s")
    return (name, value) if stem == name else (f"{stem}_ms", value * 1000)


def _medians(upload: Uploads, entries: int, *, rounds: int) -> dict[str, float]:
    """Interleaved: each lock new and then again."""
    taken: dict[str, list[Uploaded]] = defaultdict(list)
    for turn in range(WARM_UP + rounds):
        data = lock(entries, tag=f"n{entries}r{turn}")
        for kind in ("new", "again"):
            uploaded = upload(data)
            if turn >= WARM_UP:
                taken[kind].append(uploaded)
    found: dict[str, Callable[[Uploaded], float]] = {
        "parse_s": lambda u: u.parse,
        "store_s": lambda u: u.store,
        "both_s": lambda u: u.parse + u.store,
        "parse_cpu_s": lambda u: u.parse_cpu,
        "store_cpu_s": lambda u: u.store_cpu,
        "round_trips": lambda u: u.round_trips,
    }
    return {
        f"{kind}_{name}": median(map(value, uploads))
        for kind, uploads in taken.items()
        for name, value in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few uploads only")
    quick = parser.parse_args().quick
    with Server() as server, server.empty() as database:
        print(json.dumps(measure(database.url, quick=quick), indent=2))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
