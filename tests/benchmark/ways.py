"""Other ways to the server: through a pooler, or as if it were farther away."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import psycopg2
from sqlalchemy.engine import make_url

from tests.benchmark.crew import REPOSITORY
from tests.benchmark.server import Database
from tests.chaos.server import free_port

PATIENCE: Final = 10.0  # seconds for either to answer
POOLER: Final = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {size}
auth_type = any
"""


class NoPooler(Exception):
    """pgbouncer is not installed (Debian, Ubuntu: apt install pgbouncer)."""


@contextmanager
def pooled(database: Database, size: int) -> Iterator[int]:
    """The port of pgBouncer in transaction mode, with ``size`` connections for each database.

    Raises:
        NoPooler: there is none on this machine.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise NoPooler
    url, listen = make_url(database.plain_url), free_port()
    with tempfile.TemporaryDirectory(prefix="lockkeeper-pooler-") as folder:
        Path(folder).chmod(0o755)  # as root, the pooler runs as another user
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(POOLER.format(
            host=url.host, port=url.port, user=url.username, password=url.password,
            listen=listen, size=size,
        ))  # fmt: skip
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with _running([program, "-q", *user, str(settings)], database, listen):
            yield listen


@contextmanager
def distant(database: Database, delay: float) -> Iterator[int]:
    """The port of a proxy that passes everything on ``delay`` seconds later, both ways."""
    port, listen = make_url(database.plain_url).port, free_port()
    command = [sys.executable, "-m", "tests.benchmark.ways", str(listen), str(port), str(delay)]
    with _running(command, database, listen):
        yield listen


def round_trip(database: Database, times: int = 50) -> float:
    """Milliseconds that the shortest question takes, the median."""
    with database.cursor() as cursor:

        def once() -> float:
            began = time.perf_counter()
            cursor.execute("SELECT 1")
            return 1000 * (time.perf_counter() - began)

        return median(once() for _ in range(times))


@contextmanager
def _running(command: list[str], database: Database, port: int) -> Iterator[None]:
    """The program, once the server can be reached through it."""
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not _answers(database.at(port)):
                assert time.monotonic() < deadline, f"{command[0]} does not answer"
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def _answers(database: Database) -> bool:
    with contextlib.suppress(psycopg2.OperationalError):
        database.value("SELECT 1")
        return True
    return False


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float
) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            loop.call_later(delay, target.write, data)
    loop.call_later(delay, target.close)


def _serving(
    port: int, delay: float
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, back, delay), _pass_on(there, writer, delay))

    return serve


async def _proxy(listen: int, port: int, delay: float) -> None:
    server = await asyncio.start_server(_serving(port, delay), "127.0.0.1", listen)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_proxy(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
