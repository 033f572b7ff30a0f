"""A Redis of our own that keeps nothing: for the peers that queue in Redis."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_LIMIT: Final = 10.0  # seconds
GLANCE: Final = 0.01  # seconds between two looks for a server that is just starting


class RedisUnavailable(Exception):
    """There is no Redis to measure against; the message is one line that says why."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Run ``redis-server`` from PATH on a free port of 127.0.0.1, without persistence.

    Yields:
        Its URL, ``redis://127.0.0.1:PORT/0``.

    Raises:
        RedisUnavailable: it is not installed, or did not answer within ten seconds.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RedisUnavailable("no redis-server")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        server = subprocess.Popen(_command(program, port, folder))
        try:
            _wait_until_it_answers(server, port, Path(folder, "log"))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(program: str, port: int, folder: str) -> list[str]:
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--logfile", "log"]
    return [program, *where, "--save", "", "--appendonly", "no", "--daemonize", "no"]


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            said = log.read_text().splitlines() if log.exists() else []
            raise RedisUnavailable(f"redis-server did not start: {said[-1] if said else 'no log'}")
        time.sleep(GLANCE)


def _answers(port: int) -> bool:
    """Whether a PING is answered: a port that is merely open may still be loading."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16) == b"+PONG\r\n"
    except OSError:
        return False
