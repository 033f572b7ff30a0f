"""A PostgreSQL of our own that can be crashed, restarted, frozen, and robbed of its backends.

What it has acknowledged must survive all of it: it is durable. Only the main thread may start it.
"""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import psycopg2
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url

from backend.embedded import EmbeddedError, EmbeddedPostgres, wheel_installations
from backend.migrations.run import upgrade
from backend.settings import psycopg2_url
from tests.chaos import processes
from tests.chaos.workload import create_tables

GLANCE: Final = 0.002  # seconds between two looks for a server that is just starting

BACKENDS: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name LIKE %(name)s AND (NOT %(in_transaction)s OR xact_start IS NOT NULL)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server in ``folder`` (open to other users, see ``open_directory``); a context."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._postgres = EmbeddedPostgres(
            self._data, port=self.port, durable=True, installations=wheel_installations()
        )
        self._frozen: list[int] = []
        self.plain_url = ""

    def __enter__(self) -> Self:
        self.plain_url = self._postgres.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.thaw()
        self._postgres.stop()

    @property
    def url(self) -> str:
        """For SQLAlchemy, straight to the server."""
        return self.url_through(self.port)

    def url_through(self, port: int) -> str:
        """For SQLAlchemy, by way of a proxy on ``port``."""
        url = make_url(self.plain_url).set(port=port)
        return psycopg2_url(url.render_as_string(hide_password=False))

    @property
    def up(self) -> bool:
        """Whether it runs and is not frozen."""
        return self._postgres.running and not self._frozen

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """A cursor in autocommit, straight to the server, that waits 5 s at most."""
        limits = "-c statement_timeout=5000"
        with closing(psycopg2.connect(self.plain_url, connect_timeout=5, options=limits)) as link:
            link.autocommit = True
            with link.cursor() as cursor:
                yield cursor

    def prepare(self) -> None:
        """The product's schema and the synthetic workload's tables."""
        _prepare(self.url)

    def another(self, name: str) -> str:
        """URL of a new database with the same tables, all empty."""
        with self.admin() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        url = make_url(self.url).set(database=name).render_as_string(hide_password=False)
        _prepare(url)
        return url

    def crash(self) -> None:
        """SIGKILL to the postmaster and all its backends at once; stays down."""
        assert self._postgres.pid is not None
        processes.kill_family(self._postgres.pid)
        self._frozen = []
        self._postgres.stop()

    def start(self) -> None:
        """Bring it back after :meth:`crash` or :meth:`stop`, recovery included."""
        self._postgres.start()

    def stop(self) -> None:
        """A fast shutdown: backends are told and their transactions rolled back."""
        self._postgres.stop()

    def restart(self) -> None:
        """A fast shutdown, and up again at once."""
        self.stop()
        self.start()

    def crash_in_recovery(self) -> bool:
        """Crash, and crash again before the recovery has finished; stays down.

        Returns:
            False where the recovery was the faster one, and the second crash hit a server that
            was ready already.
        """
        self.crash()
        during = threading.Event()
        watcher = threading.Thread(target=self._kill_starting, args=(during,), daemon=True)
        watcher.start()
        with contextlib.suppress(EmbeddedError):
            self.start()
        watcher.join()
        if self._postgres.pid is not None:
            self.crash()
        return during.is_set()

    def _kill_starting(self, during: threading.Event) -> None:
        """Kill the next server as soon as its startup process, which recovers, is there."""
        pid_file, deadline = self._data / "postmaster.pid", time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
                lines = pid_file.read_text().splitlines()
                members = processes.family(int(lines[0]))
                if len(members) > 1:
                    processes.kill_family(members[0])
                    during.set() if "ready" not in lines[7] else None
                    return
            time.sleep(GLANCE)

    def terminate_backend(self, application_name: str = "%", *, in_transaction: bool = True) -> int:
        """End the backends of ``application_name`` (LIKE); by default those amid a transaction.

        Returns:
            How many there were: none where nobody happened to be in a transaction.
        """
        which = {"name": application_name, "in_transaction": in_transaction}
        with self.admin() as cursor:
            cursor.execute(f"SELECT count(pg_terminate_backend(pid)) FROM ({BACKENDS}) b", which)
            (count,) = cursor.fetchone()
            return int(count)

    def freeze(self) -> None:
        """SIGSTOP to the whole server: connections stay open, nothing is answered."""
        assert self._postgres.pid is not None
        self._frozen = processes.freeze_family(self._postgres.pid)

    def thaw(self) -> None:
        processes.send(signal.SIGCONT, *self._frozen)
        self._frozen = []


def _prepare(url: str) -> None:
    upgrade(url)
    create_tables(create_engine(url, poolclass=NullPool))
