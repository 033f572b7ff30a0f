"""The commands a Python peer answers, and the stop-watch that its worker processes share.

A peer's ``bench.py`` subclasses :class:`Peer` and calls :func:`main`. This runs in the peer's own
environment, not the product's: the standard library is all there is.
"""

import asyncio
import ctypes
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

GLANCE: Final = 0.02  # seconds between two looks at the worker processes' counts
COMMIT_GLANCE: Final = 0.005  # between two counts in the database, once all handlers have started
STALLED: Final = 60.0  # seconds without any progress after which a run is given up
WARM_UP: Final = 5  # jobs of a pickup run that are not reported: the worker is still starting
PICKUP_GLANCE: Final = 0.001
PAUSE: Final = (0.05, 0.1)  # seconds, drawn evenly, so that no periodic chore is hit or missed
LINE: Final = 300  # characters of an error
USAGE: Final = "setup | enqueue single N | enqueue bulk N | drain PROCESSES N | pickup TIMES"

spawned = multiprocessing.get_context("spawn")


class Failed(Exception):
    """The peer did not do what was asked of it."""


class Tally(ctypes.Structure):
    """What one worker process tells of its jobs, in memory that the parent reads."""

    _fields_ = (
        ("jobs", ctypes.c_long),  # handlers started; written last, so the rest is then valid
        ("first", ctypes.c_double),  # CLOCK_MONOTONIC, which all processes share
        ("latest", ctypes.c_double),
        ("cpu_at_first", ctypes.c_double),  # CPU seconds of the process
        ("cpu_at_end", ctypes.c_double),
        ("error", ctypes.c_char * 2000),
    )


_tally: Any = Tally()


def job_started() -> None:
    """Be the whole body of the peer's no-op handler."""
    _tally.latest = time.monotonic()
    if not _tally.jobs:
        _tally.first, _tally.cpu_at_first = _tally.latest, time.process_time()
    _tally.jobs += 1


class Peer(ABC):
    """One queue library on the database at ``url``, at its best known settings."""

    runner: ClassVar[Callable[[Coroutine[Any, Any, Any]], Any]] = staticmethod(asyncio.run)
    store: ClassVar[str] = "BENCH_DATABASE_URL"  # the environment variable with its URL
    bulk: ClassVar[bool] = True  # whether it can enqueue in bulk

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def install(self) -> None:
        """Make the library's schema in the empty database."""

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[None]:
        """Within it jobs can be enqueued and counted."""

    @abstractmethod
    async def enqueue_one(self) -> None:
        """Commit one job."""

    @abstractmethod
    async def enqueue_many(self, count: int) -> None:
        """Commit ``count`` jobs, in as many transactions as are best."""

    @abstractmethod
    async def unfinished(self) -> int:
        """Jobs that wait or run, from an index if there are many finished ones."""

    @abstractmethod
    async def finished(self) -> int:
        """Jobs that the database says have succeeded."""

    @abstractmethod
    async def work(self) -> None:
        """Run a worker in this process until it is killed."""


def _worker_process(kind: type[Peer], url: str, tally: Any, parent: Any) -> None:
    global _tally  # noqa: PLW0603 - the handlers of every peer write to it without an argument
    _tally = tally
    parent.send("ready")
    parent.recv()
    threading.Thread(target=_end_when_told, args=(tally, parent), daemon=True).start()
    try:
        kind.runner(kind(url).work())
        tally.error = b"it ended by itself"
    except Exception as error:  # noqa: BLE001 - told by the parent, in one line
        tally.error = _one_line(error).encode()


def _end_when_told(tally: Any, parent: Any) -> None:
    """No orderly shutdown: the jobs are verified, and their database is thrown away."""
    with suppress(EOFError, OSError):  # the parent is gone
        parent.recv()
    tally.cpu_at_end = time.process_time()
    os._exit(0)


@dataclass(frozen=True)
class Workers:
    """The peer's worker processes, which have begun to work."""

    tallies: list[Any]
    processes: list[Any]

    @property
    def jobs(self) -> int:
        return sum(tally.jobs for tally in self.tallies)

    @property
    def first(self) -> float:
        return min(tally.first for tally in self.tallies if tally.jobs)

    @property
    def cpu_seconds(self) -> float:
        """From each process's first job to the end; known once they have been stopped."""
        busy = [tally for tally in self.tallies if tally.jobs]
        return sum(tally.cpu_at_end - tally.cpu_at_first for tally in busy)

    def check(self) -> None:
        """Raise :class:`Failed` where one has ended."""
        for tally, process in zip(self.tallies, self.processes, strict=True):
            if tally.error or not process.is_alive():
                raise Failed(f"a worker process ended: {tally.error.decode()}")


class Patience:
    """Gives a run up where nothing has moved for a minute."""

    def __init__(self, team: Workers) -> None:
        self._team = team
        self._seen, self._since = -1, time.monotonic()

    def check(self, progress: int) -> None:
        """Raise :class:`Failed` where ``progress`` stands still or a worker process has ended."""
        self._team.check()
        if progress != self._seen:
            self._seen, self._since = progress, time.monotonic()
        elif time.monotonic() - self._since > STALLED:
            raise Failed(f"no progress for {STALLED:.0f} s at {progress}")


@contextmanager
def workers(peer: Peer, count: int) -> Iterator[Workers]:
    """``count`` processes that begin at the same moment, all imports done; ended on leaving."""
    links, processes, tallies = [], [], []
    try:
        for _ in range(count):
            link, theirs = spawned.Pipe()
            tally = spawned.RawValue(Tally)
            arguments = (type(peer), peer.url, tally, theirs)
            process = spawned.Process(target=_worker_process, args=arguments)
            process.start()
            theirs.close()
            links.append(link)
            processes.append(process)
            tallies.append(tally)
        for link in links:
            link.recv()
        for link in links:
            link.send("go")
        yield Workers(tallies, processes)
    finally:
        _end(links, processes)


def _end(links: list[Any], processes: list[Any]) -> None:
    for link in links:
        link.close()
    for process in processes:
        process.join(5)
        process.kill()


async def drain(peer: Peer, processes: int, rows: int) -> dict[str, Any]:
    """From the first handler's start until the database says that all are finished."""
    async with peer.connected():
        if await peer.unfinished():
            raise Failed("there are unfinished jobs in the database already")
        before = await peer.finished()
        await peer.enqueue_many(rows)
        with workers(peer, processes) as team:
            end = await _all_committed(peer, team, rows)
        if (done := await peer.finished() - before) != rows:
            raise Failed(f"{done} of {rows} jobs have succeeded")
    return {"rows": rows, "seconds": end - team.first, "worker_cpu_seconds": team.cpu_seconds}


async def _all_committed(peer: Peer, team: Workers, rows: int) -> float:
    patience = Patience(team)
    while team.jobs < rows:
        patience.check(team.jobs)
        await asyncio.sleep(GLANCE)
    while True:
        # What the answer tells was committed before the question.
        asked, left = time.monotonic(), await peer.unfinished()
        if not left:
            return asked
        patience.check(left)
        await asyncio.sleep(COMMIT_GLANCE)


async def pickup(peer: Peer, times: int) -> dict[str, Any]:
    """One job at a time to an idle worker, in another process."""
    milliseconds: list[float] = []
    async with peer.connected():
        with workers(peer, 1) as team:
            for _ in range(WARM_UP + times):
                asked = time.monotonic()
                milliseconds.append(1000 * (await _started(peer, team) - asked))
                await asyncio.sleep(random.uniform(*PAUSE))
    return {"milliseconds": milliseconds[WARM_UP:]}


async def _started(peer: Peer, team: Workers) -> float:
    """Enqueue one job; CLOCK_MONOTONIC when its handler started."""
    known, patience = team.jobs, Patience(team)
    await peer.enqueue_one()
    while team.jobs == known:
        patience.check(known)
        await asyncio.sleep(PICKUP_GLANCE)
    return float(team.tallies[0].latest)


async def enqueue(peer: Peer, how: str, rows: int) -> dict[str, Any]:
    """One client: one commit after the other, or in bulk."""
    if how == "bulk" and not peer.bulk:
        raise Failed("it cannot enqueue in bulk")
    async with peer.connected():
        before = await peer.unfinished()
        start = time.monotonic()
        if how == "bulk":
            await peer.enqueue_many(rows)
        else:
            for _ in range(rows):
                await peer.enqueue_one()
        seconds = time.monotonic() - start
        if (added := await peer.unfinished() - before) != rows:
            raise Failed(f"{added} of {rows} jobs are in the database")
    return {"rows": rows, "seconds": seconds}


async def _install(peer: Peer) -> dict[str, Any]:
    await peer.install()
    return {}


def _asked(peer: Peer, arguments: list[str]) -> Coroutine[Any, Any, dict[str, Any]]:
    match arguments:
        case ["setup"]:
            return _install(peer)
        case ["enqueue", ("single" | "bulk") as how, rows]:
            return enqueue(peer, how, int(rows))
        case ["drain", processes, rows]:
            return drain(peer, int(processes), int(rows))
        case ["pickup", times]:
            return pickup(peer, int(times))
        case _:
            raise Failed(f"usage: bench.py {USAGE}")


def main(kind: type[Peer]) -> None:
    """Do what the command line asks; one line of JSON, or one line of error and exit code 1."""
    try:
        peer = kind(os.environ[kind.store])
        print(json.dumps(kind.runner(_asked(peer, sys.argv[1:]))))  # noqa: T201 - the answer
    except Exception as error:  # noqa: BLE001 - the caller is told whatever it was
        sys.exit(_one_line(error))


def _one_line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < LINE else f"{text[:LINE]}…"
