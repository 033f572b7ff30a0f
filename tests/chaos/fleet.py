"""Worker processes with a proxy each, as the harness sees them."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Engine, Text, cast, literal, select, union_all

from tests.chaos import processes
from tests.chaos.points import Act
from tests.chaos.proxy import Proxy
from tests.chaos.server import Server
from tests.chaos.worker import Options
from tests.chaos.workload import QUEUES

REPOSITORY: Final = Path(__file__).resolve().parents[2]
START: Final = 30.0  # seconds a worker may take to say that it is ready, on a busy machine
FORGET: Final = 10.0  # seconds for which a dead worker's proxy is kept, at least
GLANCE: Final = 0.02  # seconds


class HeldRow(NamedTuple):
    """A lease as the database has it."""

    queue: str
    id: int
    token: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A trap that was sprung."""

    worker: "ChaosWorker"
    point: str
    act: str


class ChaosWorker:
    """One worker process behind a proxy of its own."""

    def __init__(
        self, server: Server, options: Options, log: Path, hits: "queue.Queue[Hit]"
    ) -> None:
        assert options.name is not None
        self.name = options.name
        self.options = options
        self.proxy = Proxy(server.port).__enter__()
        self.hits: list[Hit] = []
        self._changed = threading.Condition()
        self._is_ready = False
        self._all_hits = hits
        url = server.url_through(self.proxy.port)
        program = [sys.executable, "-m", "tests.chaos.worker", url]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*program, "--options", options.model_dump_json()],
                cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                bufsize=0,
                start_new_session=True,  # a group of its own: see works_alone
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        """It has not exited; it may be stopped."""
        return self.process.poll() is None

    @property
    def ready(self) -> bool:
        return self._is_ready and self.alive

    @property
    def works_alone(self) -> bool:
        """Whether a suspect row of its runs, in a process of its own that may outlive it."""
        return bool(processes.group(self.pid) - {self.pid})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: to the rest of the world it is gone; see :meth:`cont`."""
        processes.send(signal.SIGSTOP, self.pid)

    def cont(self) -> None:
        processes.send(signal.SIGCONT, self.pid)

    def stop_all(self) -> None:
        """SIGSTOP to it and to a suspect of its that runs alone."""
        processes.send(signal.SIGSTOP, *processes.group(self.pid))

    def cont_all(self) -> None:
        processes.send(signal.SIGCONT, *processes.group(self.pid))

    def terminate(self) -> None:
        """SIGTERM: drain; a second one ends it at once."""
        self.process.terminate()

    def arm(self, point: str, act: Act, nth: int = 1) -> None:
        """Set a trap at a fault point of the running process; see ``points``."""
        self._tell({"arm": {"point": point, "act": act, "nth": nth}})

    def disarm(self) -> None:
        self._tell({"disarm": True})

    def wait_ready(self, within: float = START) -> None:
        self._wait(lambda: self._is_ready or not self.alive, within, "not ready")

    def wait_hit(self, point: str, within: float = START) -> Hit:
        """The first hit of a trap at ``point``; AssertionError after ``within`` seconds."""

        def found() -> Hit | None:
            return next((hit for hit in self.hits if hit.point == point), None)

        self._wait(found, within, f"{point} was not passed")
        hit = found()
        assert hit is not None
        return hit

    def wait_stopped(self, within: float = 5.0) -> None:
        """Until SIGSTOP, its own or the harness's, has taken hold, or it has ended."""
        deadline = time.monotonic() + within
        while not processes.stopped(self.pid):
            assert time.monotonic() < deadline, f"{self.name} does not stop"
            time.sleep(GLANCE)

    def wait_silent(self) -> None:
        """Until all that a worker said before it ended has been heard."""
        self._reader.join()

    def close(self) -> None:
        """End it, whatever it is doing, with what it started, and its proxy."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.proxy.close()

    def _wait(self, check: Callable[[], Any], within: float, why: str) -> None:
        with self._changed:
            assert self._changed.wait_for(check, within), f"{self.name}: {why} within {within} s"

    def _tell(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
        except BrokenPipeError:
            return  # it has just died: there is nobody to trap

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._hear(json.loads(line))
        with self._changed:
            self._changed.notify_all()

    def _hear(self, said: dict[str, Any]) -> None:
        with self._changed:
            if said["event"] == "ready":
                self._is_ready = True
            else:
                hit = Hit(self, said["point"], said["act"])
                self.hits.append(hit)
                self._all_hits.put(hit)
            self._changed.notify_all()


class Fleet:
    """All workers at one server; a context that leaves none behind.

    Args:
        folder: where the workers' logs go, one file each.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.hits: queue.Queue[Hit] = queue.Queue()
        self.workers: list[ChaosWorker] = []
        self._buried: list[tuple[float, ChaosWorker]] = []
        self._folder = folder
        self._numbers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for worker in [*self.workers, *(worker for _, worker in self._buried)]:
            worker.close()

    def __iter__(self) -> Iterator[ChaosWorker]:
        return iter(self.workers)

    def start(self, **options: Any) -> ChaosWorker:
        """A new worker process, not awaited; ``options`` are those of ``worker.Options``."""
        name = options.pop("name", "worker")
        self._numbers[name] += 1
        asked = Options(name=f"{name}-{self._numbers[name]}", **options)
        log = self._folder / f"{asked.name}.log"
        worker = ChaosWorker(self.server, asked, log, self.hits)
        self.workers.append(worker)
        return worker

    def bury(self, worker: ChaosWorker) -> None:
        """A worker that ended is one no longer.

        A suspect of its may still run alone, by way of its proxy: that goes when it is done.
        """
        self.workers.remove(worker)
        self._buried.append((time.monotonic(), worker))

    def clear_graves(self) -> None:
        for when, worker in list(self._buried):
            if time.monotonic() > when + FORGET and not worker.works_alone:
                self._buried.remove((when, worker))
                worker.close()


def held_by(engine: Engine, name: str | None = None) -> list[HeldRow]:
    """All rows that the worker ``name``, or any, holds."""
    held = union_all(
        *(
            select(
                literal(q.name).label("queue"), q.rows.c.id,
                cast(q.rows.c.lease_token, Text).label("token"), q.rows.c.leased_by,
            ).where(q.rows.c.lease_token.is_not(None))
            for q in QUEUES
        )
    ).subquery()  # fmt: skip
    wanted = select(held)
    if name is not None:
        wanted = wanted.where(held.c.leased_by == name)
    with engine.connect() as connection:
        return [HeldRow(row.queue, row.id, row.token) for row in connection.execute(wanted)]
