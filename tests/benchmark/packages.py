"""The packages pipeline: licence check, download, inspection and scan, packages a second.

One worker process with its own defaults, started as its command starts it, vets a lock of
:data:`PACKAGES` packages that the product's own submission queued. The registry is a process on
this machine. Everything counts: worker, its children, PostgreSQL, the registry.

*Cold*: a worker just started, an empty content store; every tarball is downloaded, hashed, kept.

*Warm*: the same worker goes on with a database that has never heard of these packages, while the
tarballs lie in its content store. That is another site's database, or what happens to a tarball
that a lock of another declared hash names. Nothing of the verdict is reused: a package whose row is
known would not be vetted at all, so rows that are known measure nothing. What is saved is the
tarball's way over the network and its fsync; its bytes are hashed again all the same. Registry
documents are kept nowhere and are asked for again for each package.

``python -m tests.benchmark.packages [--quick]`` starts a durable server of its own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import Engine, text

from backend.autocommit import Autocommit
from backend.db import make_engine, make_sessions
from backend.identity import service
from backend.identity.roles import Principal, Role
from backend.migrations.run import upgrade
from backend.queue.wake import Notifier
from backend.workloads.packages import submission
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.lockfile import ParsedLock, parse_lock
from tests.benchmark.npm_registry import names
from tests.benchmark.processor import TICKS, family_seconds
from tests.benchmark.server import Server
from tests.chaos.server import free_port

PACKAGES: Final = 600
QUICK: Final = 200
WARM_ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2
PATIENCE: Final = 120.0
"""Seconds for one round."""
GLANCE: Final = 0.25
"""Seconds between two looks at whether a round is over; the database says when it was."""
ENDED: Final = text(
    "SELECT count(completed_at), max(completed_at) - min(started_at) FROM package_status"
)
SCANNED: Final = text("SELECT count(DISTINCT artifact_id) FROM security_scans")
BACKEND: Final = text("SELECT pg_backend_pid()")
EMPTY: Final = text("TRUNCATE packages, requests CASCADE")
COMMITS: Final = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
STEP: Final = re.compile(r'lockkeeper_step_seconds_sum{[^}]*step="(\w+)"[^}]*} (\S+)')


def own_seconds(pid: int) -> float:
    """Processor time of ``pid`` without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@dataclass(frozen=True)
class Processes:
    """Who works, by process id; the server is PostgreSQL's first process."""

    worker: int
    registry: int
    server: int

    def seconds(self) -> dict[str, float]:
        worker = own_seconds(self.worker)
        return {
            "worker": worker,
            "children": family_seconds(self.worker) - worker,
            "server": family_seconds(self.server),
            "registry": family_seconds(self.registry),
        }


@contextmanager
def registry(count: int) -> Iterator[tuple[int, str, bytes]]:
    """(process id, URL, a lock of all its packages)."""
    command = [sys.executable, "-m", "tests.benchmark.npm_registry", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield process.pid, told["url"], json.dumps(told["lock"]).encode()
        process.communicate()


def advisories(folder: Path, count: int) -> None:
    """An OSV record against every tenth package, half of them against older versions only."""
    for number, name in enumerate(names(count)[::10]):
        events = [{"introduced": "0"}, {"fixed": "1.0.0" if number % 2 else "2.0.0"}]
        package = {"ecosystem": "npm", "name": name}
        record = {
            "id": f"GHSA-{number:04}", "modified": datetime.now(UTC).isoformat(),
            "summary": f"{name} is broken", "database_specific": {"severity": "HIGH"},
            "affected": [{"package": package, "ranges": [{"type": "SEMVER", "events": events}]}],
        }  # fmt: skip
        (folder / f"GHSA-{number:04}.json").write_text(json.dumps(record))


@contextmanager
def worker(url: str, source: str, folder: Path) -> Iterator[tuple[int, int]]:
    """(process id, port of its metrics), once it is ready. All that is not named is default."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"], "DATABASE_URL": url, "SOURCE_REPOSITORY_URL": source,
        "PACKAGE_CACHE_DIR": str(folder / "cache"), "OSV_PATH": str(folder / "advisories"),
        "OSV_PATH_COMPLETE": "true", "WORKER_METRICS_PORT": str(port), "LOG_FORMAT": "json",
    }  # fmt: skip
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "worker"], env=environment, stderr=log
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _ready(port):
            assert process.poll() is None, (folder / "worker.log").read_text()
            assert time.monotonic() < deadline, "the worker is not ready"
            time.sleep(GLANCE)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def _ready(port: int) -> bool:
    try:
        return _get(port, "ready") != ""
    except OSError:
        return False


def _get(port: int, what: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}") as answer:
        said: str = answer.read().decode()
        return said


def _steps(port: int) -> dict[str, float]:
    """Seconds spent in each step so far, all threads together."""
    return {step: float(seconds) for step, seconds in STEP.findall(_get(port, "metrics"))}


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


@dataclass(frozen=True)
class Bench:
    engine: Engine
    lock: ParsedLock
    by: Principal
    port: int
    processes: Processes

    def round(self) -> dict[str, float]:
        """Queue the lock in tables without any package, and wait for its last verdict."""
        with self.engine.begin() as connection:
            connection.execute(EMPTY)
        submitted = submission.submit(
            Autocommit(self.engine), make_sessions(self.engine), self.lock,
            by=self.by, max_age=timedelta(days=7),
        )  # fmt: skip
        assert submitted.fresh == len(self.lock.packages)
        steps, spent, commits = _steps(self.port), self.processes.seconds(), self._one(COMMITS)
        notifier = Notifier(self.engine)
        notifier.ready(VETTING_QUEUE.name)
        seconds = self._ended()
        notifier.close()
        count = submitted.fresh
        assert self._one(SCANNED) == count
        shares = {f"{step}_ms_per_package": s * 1000 / count
                  for step, s in _since(steps, _steps(self.port)).items()}  # fmt: skip
        cpu = {f"{who}_cpu_ms_per_package": s * 1000 / count
               for who, s in _since(spent, self.processes.seconds()).items()}  # fmt: skip
        transactions = (self._one(COMMITS) - commits) / count
        return {"packages_per_s": count / seconds, "transactions_per_package": transactions,
                **cpu, **shares}  # fmt: skip

    def _ended(self) -> float:
        """Seconds from the first claim to the last verdict, both by the database's clock."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.engine.begin() as connection:
                count, took = connection.execute(ENDED).one()
            if count == len(self.lock.packages):
                seconds: float = took.total_seconds()
                return seconds
            assert time.monotonic() < deadline, f"only {count} packages vetted"
            time.sleep(GLANCE)

    def _one(self, query: Any) -> Any:
        with self.engine.begin() as connection:
            return connection.execute(query).scalar()


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def _enter(engine: Engine) -> Principal:
    with make_sessions(engine).begin() as session:
        user = service.create_user(
            session, "benchmark", username="ada", password_hash="unused", role=Role.USER
        )
        return Principal(user.id, user.username, Role.USER)


def _server(engine: Engine) -> int:
    """The first process of a PostgreSQL on this machine: its backends are its children."""
    with engine.begin() as connection:
        backend: int = connection.execute(BACKEND).scalar_one()
    return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])


def measure(url: str, *, quick: bool) -> dict[str, float]:
    """Packages a second, cold and warm, and where a warm one's time goes.

    Args:
        url: SQLAlchemy's, of an empty database on a durable server of this machine.
        quick: fewer packages and rounds.

    Returns:
        ``…_cpu_ms_per_package`` is processor time, by process; ``…_ms_per_package`` is wall time
        of a step with its loading, several packages being under way at once.
    """
    count, rounds = (QUICK, QUICK_ROUNDS) if quick else (PACKAGES, WARM_ROUNDS)
    upgrade(url)
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="lk-bench-")))
        (folder / "advisories").mkdir()
        advisories(folder / "advisories", count)
        registry_pid, source, lock = resources.enter_context(registry(count))
        engine = make_engine(url)
        resources.callback(engine.dispose)
        worker_pid, port = resources.enter_context(worker(url, source, folder))
        origins = frozenset({source.partition("://")[2]})
        parsed = parse_lock(lock, filename=None, origins=origins, max_bytes=len(lock))
        bench = Bench(
            engine, parsed, _enter(engine), port,
            Processes(worker_pid, registry_pid, _server(engine)),
        )  # fmt: skip
        cold = bench.round()
        warm = _medians([bench.round() for _ in range(rounds)])
    return {"cold_packages_per_s": cold["packages_per_s"], **warm}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    with Server() as server, server.empty() as database:
        sys.stdout.write(json.dumps(measure(database.url, quick=quick), indent=2) + "\n")


if __name__ == "__main__":
    main()
