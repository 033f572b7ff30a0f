"""Splunk archives from upload to resolvable: the API, and a worker as it is started for real.

    python -m tests.benchmark.splunk_ingest [--rounds N] [--million | --nasty]

Each archive is uploaded over and over, in turn with the others: ``upload`` is the request, ``to
complete`` goes from its first byte to the moment at which a look at the database shows the run
complete, ``resolvable`` to the first answer on its effective configuration after that. All of it
on one machine: the API in this process, PostgreSQL durable, one worker process with its children.
Peak memory is resident, as the kernel has it (VmHWM), of the worker and of the largest child.
``--million`` adds two archives with a million stanzas, in a thousand files and in one.
``--nasty`` takes the hostile archives of ``../shared/cases`` instead, and says how each ended; each
has a worker of its own, so that its memory is its own.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from statistics import median
from typing import Any, Final

from flask.testing import FlaskClient
from sqlalchemy import Engine, Row, insert, text

from backend.db import make_engine
from backend.identity.model import User
from backend.identity.passwords import hashed
from backend.web.assembly import assemble
from tests.benchmark import splunk_archives as archives
from tests.benchmark.server import Database, Server
from tests.benchmark.table import grid
from tests.callers import PASSWORD, make_settings

KEY: Final = "benchmark-key-of-forty-characters-at-least"
LOOK: Final = 0.005  # seconds between two looks
PATIENCE: Final = 900.0  # seconds for one archive
_STATUS: Final = text(
    "SELECT status, error, stanzas_created, duration_seconds FROM ingestion_runs WHERE id = :id"
)


class Peaks(threading.Thread):
    """The largest resident memory of a process, and of any of its descendants, in bytes."""

    def __init__(self, worker: int) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._ended = threading.Event()
        self.worker = 0
        self.child = 0

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.look()

    def look(self) -> None:
        parents: dict[int, int] = {}
        peaks: dict[int, int] = {}
        for entry in Path("/proc").glob("[0-9]*/status"):
            try:
                told = dict(line.split(":", 1) for line in entry.read_text().splitlines())
            except (FileNotFoundError, ProcessLookupError):
                continue
            pid = int(entry.parent.name)
            parents[pid] = int(told["PPid"])
            peaks[pid] = int(told.get("VmHWM", "0 kB").split()[0]) * 1024
        self.worker = max(self.worker, peaks.get(self._worker, 0))
        for pid, peak in peaks.items():
            if self._descends(pid, parents):
                self.child = max(self.child, peak)

    def _descends(self, pid: int, parents: dict[int, int]) -> bool:
        while pid := parents.get(pid, 0):
            if pid == self._worker:
                return True
        return False

    def stop(self) -> None:
        self._ended.set()
        self.join()


@dataclass(slots=True)
class Measured:
    """Seconds of each round, and bytes."""

    upload: list[float] = field(default_factory=list)
    complete: list[float] = field(default_factory=list)
    resolvable: list[float] = field(default_factory=list)
    stanzas: int = 0
    worker: int = 0
    child: int = 0


class Bench:
    """An API with one user, and a worker's process."""

    def __init__(self, client: FlaskClient, engine: Engine, worker: int) -> None:
        self._client, self._engine, self._worker = client, engine, worker
        answer = client.post("/api/auth/login", json={"username": "ada", "password": PASSWORD})
        self._headers = {"Authorization": f"Bearer {answer.get_json()['token']}"}

    def ingest(self, path: Path, upload_type: str, measured: Measured) -> None:
        """One round.

        Raises:
            RuntimeError: it did not become complete.
        """
        peaks = Peaks(self._worker)
        peaks.start()
        began = time.perf_counter()
        run_id = self._upload(path, upload_type)
        measured.upload.append(time.perf_counter() - began)
        run = self._ended(run_id)
        if run.status == "failed":
            raise RuntimeError(f"{path.name} failed: {run.error}")
        measured.stanzas = run.stanzas_created
        measured.complete.append(time.perf_counter() - began)
        answer = self._client.get(
            f"/v1/runs/{run_id}/effective?conf=props&context=global", headers=self._headers
        )
        measured.resolvable.append(time.perf_counter() - began)
        if answer.status_code not in {HTTPStatus.OK, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
            raise RuntimeError(f"{path.name} cannot be resolved: {answer.text}")
        peaks.stop()
        measured.worker = max(measured.worker, peaks.worker)
        measured.child = max(measured.child, peaks.child)

    def outcome(self, path: Path) -> tuple[str, ...]:
        """How an archive ended: a line of the table of hostile ones."""
        peaks = Peaks(self._worker)
        peaks.start()
        began = time.perf_counter()
        run = self._ended(self._upload(path, "instance_etc"))
        seconds = time.perf_counter() - began
        peaks.stop()
        told = [run.error] if run.error else []
        return (
            path.name, run.status, f"{run.stanzas_created or 0:,}", f"{seconds:.2f}",
            f"{peaks.child / 1e6:.0f}", f"{peaks.worker / 1e6:.0f}", "; ".join(told)[:60],
        )  # fmt: skip

    def _upload(self, path: Path, upload_type: str) -> int:
        head = "--b\r\nContent-Disposition: form-data; name="
        fields = (
            f'{head}"type"\r\n\r\n{upload_type}\r\n{head}"file"; filename="{path.name}"\r\n\r\n'
        )
        answer = self._client.post(
            "/v1/uploads",
            data=fields.encode() + path.read_bytes() + b"\r\n--b--\r\n",
            content_type="multipart/form-data; boundary=b",
            headers=self._headers,
        )
        if answer.status_code != HTTPStatus.CREATED:
            raise RuntimeError(f"{path.name} was refused: {answer.text}")
        return int(answer.get_json()["id"])

    def _ended(self, run_id: int) -> Row[Any]:
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        while time.monotonic() < deadline:
            with self._engine.begin() as connection:
                run = connection.execute(_STATUS, {"id": run_id}).one()
            if run.status in {"complete", "failed"}:
                return run
            pause.wait(LOOK)
        raise RuntimeError(f"run {run_id} took too long")


@contextmanager
def bench(database: Database, folder: Path) -> Iterator[Bench]:
    """Started, and the worker warm: it has run one archive."""
    environment = {
        "DATABASE_URL": database.plain_url, "SPLUNK_KEY": KEY, "WORKER_TYPE": "splunk",
        "STORAGE_DIR": str(folder / "store"), "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    engine = make_engine(database.url)
    with engine.begin() as connection:
        ada = {"username": "ada", "password_hash": hashed(PASSWORD), "role": "user"}
        connection.execute(insert(User).values(ada))
    settings = make_settings(
        SPLUNK_KEY=KEY, STORAGE_DIR=folder / "store", UPLOAD_RATE_PER_MINUTE=10_000
    )
    app = assemble(settings, engine)
    worker = subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "worker"], env={**os.environ, **environment}
    )
    try:
        made = Bench(app.test_client(), engine, worker.pid)
        made.ingest(archives.small(folder), "app_bundle", Measured())
        yield made
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
        app.extensions["lockkeeper"].ready.__self__.close()
        engine.dispose()


def measure(bench: Bench, inputs: list[tuple[Path, str]], rounds: int) -> dict[str, Measured]:
    """By the archives' names; the rounds of all of them interleaved."""
    found = {path.name: Measured() for path, _ in inputs}
    for _ in range(rounds):
        for path, upload_type in inputs:
            bench.ingest(path, upload_type, found[path.name])
    return found


def shown(found: dict[str, Measured]) -> str:
    heads = (
        "archive", "stanzas", "upload, s", "to complete, s", "resolvable, s",
        "worker, MB", "child, MB",
    )  # fmt: skip
    rows = [
        (
            name, f"{it.stanzas:,}", f"{median(it.upload):.3f}", f"{median(it.complete):.3f}",
            f"{median(it.resolvable):.3f}", f"{it.worker / 1e6:.0f}", f"{it.child / 1e6:.0f}",
        )
        for name, it in found.items()
    ]  # fmt: skip
    return grid("Splunk archives, from upload to resolvable", heads, rows)


def hostile() -> str:
    heads = (
        "archive", "ended", "stanzas", "seconds", "child, MB", "worker, MB", "error",
    )  # fmt: skip
    rows = []
    for path in archives.nasty():
        with (
            tempfile.TemporaryDirectory() as name,
            Server() as server,
            server.migrated() as database,
            bench(database, Path(name)) as started,
        ):
            rows.append(started.outcome(path))
    return grid("Hostile archives, from upload to the run's end", heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="two archives of a million stanzas")
    parser.add_argument("--nasty", action="store_true", help="the hostile archives instead")
    asked = parser.parse_args()
    if asked.nasty:
        print(hostile())  # noqa: T201 - the result
        return
    with tempfile.TemporaryDirectory() as name, Server() as server, server.migrated() as database:
        folder = Path(name)
        inputs = [*archives.real(), (archives.ordinary(folder), "instance_etc")]
        with bench(database, folder) as started:
            found = measure(started, inputs, asked.rounds)
            if asked.million:
                many = [archives.million(folder), archives.one_file(folder)]
                found |= measure(started, [(path, "instance_etc") for path in many], 1)
        print(shown(found))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
