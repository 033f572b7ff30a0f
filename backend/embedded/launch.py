"""One server process: its settings, its port, its start and its end."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from backend.embedded.account import process_arguments
from backend.embedded.cluster import Cluster
from backend.embedded.errors import EmbeddedError
from backend.embedded.installation import Installation

Server = subprocess.Popen[bytes]

HOST = "127.0.0.1"
STOP_TIMEOUT = 30  # seconds; 0.01 s, unless a checkpoint has much to write

_START_TIMEOUT = 120  # seconds; 0.05 s, unless it has to recover from a crash first
_POLL = 0.01  # seconds
_PORT_ATTEMPTS = 5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_SETTINGS = {
    "listen_addresses": HOST,
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # Short-lived databases are dropped by a plain role, which may not end a vacuum in them.
    "autovacuum": "off",
}


class _PortTaken(Exception):
    """Answered by trying another port."""


class Launch:
    """Everything a server process is started with, but for its port."""

    def __init__(
        self,
        cluster: Cluster,
        installation: Installation,
        sockets: Path,
        log: int,
        *,
        durable: bool,
    ) -> None:
        self._cluster = cluster
        self._program = installation.bin / "postgres"
        self._log = log
        quoted = str(sockets).replace('"', '""')
        self._settings = {
            **_SETTINGS,
            **({} if durable else _NOT_DURABLE),
            "unix_socket_directories": f'"{quoted}"',
        }

    def on_port(self, port: int | None) -> tuple[Server, int]:
        """The process, ready for connections, and its port."""
        for chosen in [port] if port else (_free_port() for _ in range(_PORT_ATTEMPTS)):
            with suppress(_PortTaken):
                return self._ready(chosen), chosen
        raise EmbeddedError(
            f"port {port} is taken: choose another one, or stop the program that listens there"
            if port
            else f"found no free port on {HOST} in {_PORT_ATTEMPTS} attempts"
        )

    def _ready(self, port: int) -> Server:
        already_logged = os.fstat(self._log).st_size
        server = self._spawn(port)
        try:
            self._await_ready(server)
        except BaseException:
            terminate(server)
            raise
        if server.returncode is None:
            return server
        said = self._log_since(already_logged)
        if "could not create any TCP/IP sockets" in said:
            raise _PortTaken
        fatal = [line for line in said.splitlines() if "FATAL:" in line] or ["no message"]
        reason = fatal[-1].rpartition("FATAL:")[2].strip()
        raise EmbeddedError(
            f"PostgreSQL did not start in {self._cluster.data}: {reason}"
            f" (its log is {self._cluster.log_file})"
        )

    def _spawn(self, port: int) -> Server:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        arguments = process_arguments(self._cluster.account)
        arguments |= {"stdout": self._log, "stderr": self._log}
        return subprocess.Popen(
            [self._program, "-D", self._cluster.data, f"--port={port}", *settings],
            start_new_session=True,  # Ctrl-C in a terminal is for the owner, which stops us in turn
            preexec_fn=_follow_owner(os.getpid()),  # noqa: PLW1509 - it only calls the kernel
            **arguments,
        )

    def _await_ready(self, server: Server) -> None:
        """Return when the server is ready, or has exited."""
        deadline = time.monotonic() + _START_TIMEOUT
        while server.poll() is None and self._cluster.server_status() != (server.pid, "ready"):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"PostgreSQL was not ready after {_START_TIMEOUT} s"
                    f" (its log is {self._cluster.log_file})"
                )
            time.sleep(_POLL)

    def _log_since(self, offset: int) -> str:
        with self._cluster.log_file.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")


def _follow_owner(owner: int) -> Callable[[], None] | None:
    """What the child does before exec: ask for SIGINT, a clean stop, at the death of its owner."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != owner:  # it died before we asked
            os._exit(1)

    return follow


def terminate(server: Server) -> None:
    """Stop it, in PostgreSQL's words fast, then immediately, then without asking; reap it."""
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(request)  # does nothing once it has exited
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT)
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
