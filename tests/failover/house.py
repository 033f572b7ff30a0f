"""An API and workers at several servers of one database, and callers who know what was accepted."""

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import urllib3

from backend.embedded import EmbeddedError
from tests.chaos.server import free_port
from tests.command_line import environment, lockkeeper
from tests.failover.cluster import until

USER: Final = "drill"
TASK: Final = {"task_type": "edm_track_resolutions", "parameters": {}}
QUEUE: Final = "edm_analysis"
AGAIN: Final = 0.1  # seconds until a submission that was not accepted is repeated
PATIENCE: Final = 20.0  # seconds for an answer
ACCEPTED: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission that was answered with success at ``at``, after ``tries`` that were not."""

    key: str
    task_id: str
    row_id: int
    at: float
    tries: int


class House:
    """API and workers as their own processes; a context. ``url`` is the database's."""

    def __init__(self, url: str, folder: Path, *, workers: int = 2) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.env = environment(
            folder, DATABASE_URL=url, JWT_SECRET=secrets.token_hex(32),
            TASK_KEY=secrets.token_hex(32), TASK_RATE_PER_MINUTE="1000000",
            API_PORT=str(self.port), WORKER_TYPE=QUEUE, LOG_FORMAT="json",
        )  # fmt: skip
        self._folder = folder
        self._names = ["api", *(f"worker-{number}" for number in range(1, workers + 1))]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=PATIENCE)
        self._password = secrets.token_urlsafe(18)
        self._token = ""

    def __enter__(self) -> Self:
        for words in (["migrate"], ["user", "add", USER, "--password-stdin"]):
            done = lockkeeper(*words, env=self.env, input=f"{self._password}\n")
            if done.returncode:
                raise EmbeddedError(f"lockkeeper {words[0]}: {done.stderr.strip()}")
        for name in self._names:
            with (self._folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-P", "-m", "backend.cli", name.partition("-")[0]]
                env = self.env | ({"WORKER_NAME": name} if name != "api" else {})
                self._processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        try:
            until(self._ready, "the API is not ready")
            self._sign_in()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pool.clear()

    @property
    def alive(self) -> bool:
        """Whether none of its processes has ended."""
        return all(process.poll() is None for process in self._processes)

    def said(self, name: str) -> str:
        """The log of ``api``, ``worker-1``, …."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def submit(self, key: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a submission; status 0 where there was no answer."""
        return self.call("POST", "/api/tasks", json=TASK, headers={"Idempotency-Key": key})

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **given: Any
    ) -> tuple[int, dict[str, Any]]:
        asked = {**(headers or {}), "Authorization": f"Bearer {self._token}"}
        try:
            answer = self._pool.request(method, f"{self.base}{path}", headers=asked, **given)
        except urllib3.exceptions.HTTPError:
            return 0, {}
        return answer.status, answer.json()

    def _ready(self) -> bool:
        if not self.alive:
            raise EmbeddedError("a part of the house ended: " + self.said(self._names[0])[-300:])
        return self.call("GET", "/ready")[0] in ACCEPTED

    def _sign_in(self) -> None:
        given = {"username": USER, "password": self._password}
        status, body = self.call("POST", "/api/auth/login", json=given)
        if status not in ACCEPTED:
            raise EmbeddedError(f"cannot sign in: {status} {body.get('detail')}")
        self._token = body["token"]


@dataclass
class Load:
    """Callers that submit one task after another, and repeat each until it is accepted; a context.

    Each submission has its ``Idempotency-Key``: to repeat one that was stored adds nothing.
    """

    house: House
    rate: float
    callers: int = 4
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(self.callers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.finish()

    def finish(self) -> None:
        """No more new ones; what was begun is repeated until it is accepted."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float) -> Accepted | None:
        """The first that was accepted after ``moment``."""
        return min((a for a in list(self.accepted) if a.at > moment), key=when, default=None)

    def _run(self, caller: int) -> None:
        number = 0
        while not self._stop.wait(self.callers / self.rate):
            number += 1
            self._submit(f"caller-{caller}-{number}")

    def _submit(self, key: str) -> None:
        tries, deadline = 0, time.time() + 90
        while time.time() < deadline:
            status, body = self.house.submit(key)
            now = time.time()
            if status in ACCEPTED:
                found = Accepted(key, body["task_id"], body["row_id"], now, tries)
                self.accepted.append(found)
                return
            self.refused.append((now, status))
            tries += 1
            time.sleep(AGAIN)


def when(accepted: Accepted) -> float:
    return accepted.at
