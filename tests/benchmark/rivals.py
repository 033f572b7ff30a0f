"""The peers' cells: each command of a peer's bench on a database of its own."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmark import environments
from tests.benchmark.environments import Unavailable
from tests.benchmark.measures import Values
from tests.benchmark.redis_server import RedisUnavailable, redis_server
from tests.benchmark.server import Server

PATIENCE: Final = 180  # seconds for one command
REDIS: Final = ("celery", "dramatiq")


@dataclass(frozen=True)
class Size:
    """How many rows keep a peer busy for about two seconds; a second for one row at a time."""

    drained: int
    bulk: int = 20_000
    single: int = 1000


SIZES: Final = {
    "pgqueuer": Size(40_000),
    "procrastinate": Size(2000),
    "oban": Size(5000, bulk=10_000),
    "chancy": Size(10_000, bulk=10_000),
    "awa": Size(15_000),
    "celery": Size(3000, bulk=5000),
    "dramatiq": Size(10_000, bulk=10_000),
    "graphile_worker": Size(100_000),
    "pg_boss": Size(60_000),
}
OTHER: Final = Size(5000)


# What the server spent is not told: it would hold the enqueueing before.
def drain(server: Server, peer: str, processes: int, *, quick: bool) -> Values:
    rows = SIZES.get(peer, OTHER).drained // (5 if quick else 1)
    told = _told(server, peer, "drain", str(processes), str(rows), install=not quick)
    return {
        "rows_per_s": told["rows"] / told["seconds"],
        "worker_cpu_s_per_10k": told["worker_cpu_seconds"] / told["rows"] * 10_000,
    }


def enqueue(server: Server, peer: str, how: str, *, quick: bool) -> Values:
    size = SIZES.get(peer, OTHER)
    rows = (size.bulk if how == "bulk" else size.single) // (5 if quick else 1)
    told = _told(server, peer, "enqueue", how, str(rows), install=not quick)
    return {"rows_per_s": told["rows"] / told["seconds"]}


def pickup(server: Server, peer: str, times: int, *, quick: bool) -> list[float]:
    return [float(ms) for ms in _told(server, peer, "pickup", str(times), install=not quick)[
        "milliseconds"]]  # fmt: skip


def _told(server: Server, peer: str, *asked: str, install: bool) -> dict[str, Any]:
    """What the bench of ``peer`` answers, on a fresh database with its schema.

    Raises:
        Unavailable: it could not be run, or gave up; one line that says why.
    """
    bench = environments.command(peer, install=install)
    with server.empty() as database:
        environment = {**os.environ, "BENCH_DATABASE_URL": database.plain_url}
        if peer not in REDIS:
            return _answers(bench, asked, environment)
        try:
            with redis_server() as url:
                return _answers(bench, asked, {**environment, "BENCH_REDIS_URL": url})
        except RedisUnavailable as error:
            raise Unavailable(str(error)) from None


def _answers(
    bench: list[str], asked: tuple[str, ...], environment: dict[str, str]
) -> dict[str, Any]:
    _run([*bench, "setup"], environment)
    told: dict[str, Any] = json.loads(_run([*bench, *asked], environment).splitlines()[-1])
    return told


def _run(command: list[str], environment: dict[str, str]) -> str:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, complained = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no answer in {PATIENCE} s") from None
    finally:
        with suppress(ProcessLookupError):  # workers of its own may be left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        last = [line for line in complained.splitlines() if line.strip()]
        raise Unavailable(last[-1] if last else f"it ended with {process.returncode}")
    return said
