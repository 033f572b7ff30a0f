"""Two real PostgreSQL servers, of which one follows the other: made, killed, promoted, rewound."""

import contextlib
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import psycopg2
from psycopg2.extensions import make_dsn
from sqlalchemy.engine import URL

from backend.embedded import EmbeddedError, host_installations, wheel_installations
from backend.embedded.account import account_for, process_arguments, reachable_installation
from backend.embedded.installation import Installation
from tests.chaos import processes
from tests.chaos.server import free_port

NEEDED: Final = ("initdb", "pg_basebackup", "pg_rewind")
SUPERUSER: Final = "postgres"
DATABASE: Final = "lockkeeper"
WITHIN: Final = 60.0  # seconds for a server to start, to follow or to be promoted
GLANCE: Final = 0.02  # seconds
SETTINGS: Final = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "log_line_prefix": "%m [%p] ",
    # So that an old primary can be rewound: that needs the log since before the others left it.
    "wal_keep_size": "256MB",
}


def installation() -> Installation | None:
    """Binaries that can replicate; None where this machine has none."""
    for found in (*wheel_installations(), *host_installations()):
        if all((found.bin / name).exists() for name in NEEDED):
            return found
    return None


class Node:
    """One server in ``folder/name``; a context that leaves no process behind.

    The role that it offers owns the database. ``name`` is how the others know it: the name that
    stands in ``synchronous_standby_names``.
    """

    def __init__(
        self, folder: Path, name: str, found: Installation, password: str, host: str = "127.0.0.1"
    ) -> None:
        self.name = name
        self.host = host
        self.port = free_port()
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self._account = account_for(folder)
        self._bin = reachable_installation(found, self._account).bin
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        if self._account:
            self._account.take(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        place = URL.create("postgresql", SUPERUSER, self._password, self.host, self.port, DATABASE)
        return place.render_as_string(hide_password=False)

    def create(self) -> None:
        """A primary with an empty database."""
        words = self.data.with_suffix(".password")
        words.write_text(self._password)
        if self._account:
            self._account.take(words)
        self._run("initdb", "-D", self.data, "-U", SUPERUSER, f"--pwfile={words}",
                  "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
                  "--data-checksums", "--no-sync")  # fmt: skip
        words.unlink()
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        if self.host != "127.0.0.1":
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self.host}/24 scram-sha-256\n")
        self.start()
        with self.admin(database="postgres") as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")

    def follow(self, primary: "Node", *, port: int | None = None) -> None:
        """Become a copy of ``primary`` that follows it, by way of ``port`` if one is given."""
        self._run("pg_basebackup", "-D", self.data, "-d", primary.dsn(self.name, primary.port),
                  "--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf",
                  "--no-sync")  # fmt: skip
        self.start(primary_conninfo=primary.dsn(self.name, port or primary.port))

    def rewind(self, primary: "Node") -> None:
        """What an old primary must do before it may follow: give up what only it has."""
        self._run("pg_rewind", "-D", self.data, "--write-recovery-conf",
                  f"--source-server={primary.dsn(self.name, primary.port)}")  # fmt: skip
        self.start()

    def dsn(self, follower: str, port: int) -> str:
        """How ``follower`` reaches it."""
        return make_dsn(
            host=self.host, port=port, user=SUPERUSER, password=self._password,
            dbname="postgres", application_name=follower, connect_timeout=5,
        )  # fmt: skip

    def start(self, **more: str) -> None:
        """Until it answers, be it as a standby; ``more`` are settings for this time."""
        settings = {"listen_addresses": self.host, "port": self.port,
                    "unix_socket_directories": "", **more}  # fmt: skip
        arguments = process_arguments(self._account)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data,
                 *(f"--{name}={value}" for name, value in settings.items())],
                start_new_session=True, **{**arguments, "stdout": log, "stderr": log},
            )  # fmt: skip
        until(self._answers, f"{self.name} does not answer: see {self.log}")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Up where nobody looks for it, to be read: what only it has can be saved."""
        known, self.port = self.port, free_port()
        try:
            self.start(default_transaction_read_only="on")
            yield
        finally:
            self.stop()
            self.port = known

    def stop(self) -> None:
        """A fast shutdown."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its backends at once: the machine lost its power."""
        assert self._process is not None
        processes.kill_family(self._process.pid)
        self._process.wait()

    def promote(self) -> None:
        with self.admin() as cursor:
            cursor.execute("SELECT pg_promote(true, 60)")
            assert cursor.fetchone() == (True,)

    def wait_for_whom(self, standby: str) -> None:
        """Each commit waits until ``standby`` has it on its disk; "" for nobody."""
        with self.admin() as cursor:
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = %s", (standby,))
            cursor.execute("SELECT pg_reload_conf()")
        shown = "SHOW synchronous_standby_names"
        until(lambda: self.ask(shown) == standby, f"{self.name} does not read its settings")

    def is_followed(self, by: "Node") -> bool:
        """Whether ``by`` streams from it and has all of it."""
        return bool(
            self.ask(
                "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s"
                " AND state = 'streaming' AND flush_lsn = pg_current_wal_flush_lsn()",
                by.name,
            )
        )

    def ask(self, question: str, *given: Any) -> Any:
        """One value."""
        with self.admin() as cursor:
            cursor.execute(question, given or None)
            row = cursor.fetchone()
        return row and row[0]

    @contextmanager
    def admin(self, *, database: str = DATABASE) -> Iterator[Any]:
        """A cursor in autocommit that waits for no standby."""
        options = "-c statement_timeout=70000 -c synchronous_commit=local"
        dsn = make_dsn(self.url, dbname=database, connect_timeout=5, options=options,
                       application_name="failover-drill")  # fmt: skip
        with closing(psycopg2.connect(dsn)) as link, link.cursor() as cursor:
            link.autocommit = True
            yield cursor

    def _answers(self) -> bool:
        if not self.running:
            raise EmbeddedError(f"{self.name} ended: see {self.log}")
        with contextlib.suppress(psycopg2.OperationalError), self.admin(database="postgres"):
            return True
        return False

    def _run(self, program: str, *arguments: str | Path) -> None:
        given = {**process_arguments(self._account), "stdout": subprocess.PIPE,
                 "stderr": subprocess.STDOUT}  # fmt: skip
        done = subprocess.run(
            [self._bin / program, *arguments], timeout=WITHIN, check=False, text=True, **given
        )
        if done.returncode:
            said = done.stdout.strip().splitlines() or ["no message"]
            raise EmbeddedError(f"{program} failed at {self.name}: {said[-1]}")


def until(check: Any, why: str, within: float = WITHIN) -> None:
    """Wait for ``check()``; EmbeddedError with ``why`` when it does not come true."""
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{why} (within {within:.0f} s)")
        time.sleep(GLANCE)


@contextmanager
def pair(folder: Path, found: Installation) -> Iterator[tuple[Node, Node]]:
    """Two servers that are yet to be created; ``folder`` is open to other users."""
    password = secrets.token_urlsafe(24)
    with Node(folder, "one", found, password) as one, Node(folder, "two", found, password) as two:
        yield one, two


def url_of(*nodes: Node) -> str:
    """All of them in libpq's form, of which the one that takes writes is meant."""
    first = nodes[0]
    places = ",".join(f"{node.host}:{node.port}" for node in nodes)
    return first.url.replace(f"{first.host}:{first.port}", places) + (
        "?target_session_attrs=read-write"
    )
