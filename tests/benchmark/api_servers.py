"""A server of the API benchmark as a process of its own, and what processor time it takes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg2

from backend.web.serve import free_port
from tests.benchmark import processor
from tests.conftest import REPOSITORY

PATIENCE: Final = 30.0  # seconds for a server to listen, and to stop
GLANCE: Final = 0.05  # seconds between two looks for a server that starts


@dataclass(frozen=True, slots=True)
class Served:
    """A server that listens; ``url`` is its database's, without a driver."""

    process: subprocess.Popen[bytes]
    port: int
    url: str

    def cpu_seconds(self) -> tuple[float, float]:
        """Used so far: by the server's workers, and by PostgreSQL with all its processes."""
        with closing(psycopg2.connect(self.url)) as link:
            backend = processor.usage(link.info.backend_pid)
            assert backend is not None
            return processor.family_seconds(self.process.pid), processor.family_seconds(
                backend.parent
            )


@contextmanager
def served(module: str, url: str, environment: Mapping[str, str]) -> Iterator[Served]:
    """Run ``python -m module`` on a free port, from when it listens until the end of the block.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """
    port = free_port("127.0.0.1", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env=os.environ | environment | {"DATABASE_URL": url, "API_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(process, port, module)
        yield Served(process, port, url.replace("+psycopg2", "", 1))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _await(process: subprocess.Popen[bytes], port: int, module: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(GLANCE)
        else:
            return
    raise RuntimeError(f"{module} does not listen; it ended with {process.poll()}")
