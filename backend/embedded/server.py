"""The supervisor: one server process, owned by this process and never outliving it."""

import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psycopg2

from backend.embedded.cluster import DATABASE, ROLE, Cluster
from backend.embedded.errors import EmbeddedError
from backend.embedded.installation import Installation, wheel_installations
from backend.embedded.launch import HOST, STOP_TIMEOUT, Launch, Server, terminate

_POLL = 0.01  # seconds
_SOCKET_PATH_LIMIT = 103  # bytes; macOS has 104 with the closing NUL, Linux 108


class EmbeddedPostgres:
    """A PostgreSQL server in ``data_dir`` that lives as long as its owner, this process.

    It is a direct child, listens on 127.0.0.1 and on a unix socket, and asks for the password that
    lies in ``<data_dir>.password`` (mode 0600); its log is ``<data_dir>.log``. The role it offers
    owns its database and is no superuser. As root the server runs as ``postgres`` or ``nobody``;
    if that user cannot reach ``data_dir``, a link to a directory below /var/lib takes its place.

    On Linux the death of the owner, even by SIGKILL, stops the server cleanly. Elsewhere a server
    left behind is stopped by the next start.

    Args:
        data_dir: made if it is not there.
        port: TCP port; a free one is chosen by default.
        durable: False trades safety against power loss for speed: tests only.
        installations: binaries in order of preference; those of the wheel by default. Data that
            exist already are served by the first one of their major version.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        installations: Sequence[Installation] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._port = port
        self._durable = durable
        self._installations = installations
        self._resources = ExitStack()
        self._server: Server | None = None
        self._url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server else None

    @property
    def url(self) -> str:
        """``postgresql://lockkeeper:PASSWORD@127.0.0.1:PORT/lockkeeper``, once it is started."""
        if self._server is None:
            raise RuntimeError("this server is not started")
        return self._url

    def start(self) -> str:
        """Start the server and wait until it takes connections.

        Returns:
            Its ``url``.

        Raises:
            EmbeddedError: in one line, why it cannot be started.
            RuntimeError: it is started already, or this is not the main thread (the kernel ties
                the server's life to the thread that started it).
        """
        if self._server is not None:
            raise RuntimeError("this server is started already")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("an embedded server must be started from the main thread")
        try:
            self._server, self._url = self._start()
        except OSError as error:
            where = error.filename or self.data_dir
            raise EmbeddedError(f"cannot run PostgreSQL in {where}: {error.strerror}") from error
        return self._url

    def stop(self) -> None:
        """Disconnect everybody, stop the server and wait until it is gone; twice does no harm."""
        self._resources.close()
        self._server = None

    def _start(self) -> tuple[Server, str]:
        with ExitStack() as resources:
            cluster = Cluster.locate(self.data_dir)
            resources.enter_context(_ownership(cluster))
            with _exclusive_log(cluster) as log:
                installation = cluster.prepare(
                    wheel_installations() if self._installations is None else self._installations,
                    durable=self._durable,
                )
                password = cluster.password()
                cluster.forget_dead_server()
                sockets = resources.enter_context(_socket_directory(cluster))
                launch = Launch(cluster, installation, sockets, log, durable=self._durable)
                server, port = launch.on_port(self._port)
            resources.callback(terminate, server)
            url = f"postgresql://{ROLE}:{password}@{HOST}:{port}/{DATABASE}"
            _check_password(url, cluster)
            self._resources = resources.pop_all()
        return server, url


@contextmanager
def _ownership(cluster: Cluster) -> Iterator[None]:
    """Hold the lock file with our process id in it; the kernel lets go of it when we die."""
    lock = os.open(cluster.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(lock):
            owner = os.pread(lock, 20, 0).decode().strip() or "that is just starting"
            raise EmbeddedError(
                f"{cluster.data} is in use by process {owner}:"
                " stop it first, or choose another data directory"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


@contextmanager
def _exclusive_log(cluster: Cluster) -> Iterator[int]:
    """Open the log and lock it; the server inherits the descriptor, and with it the lock.

    So a locked log means that a server of an earlier owner, or a part of it, is still there,
    whatever process ids may mean by now; it is asked to stop and waited for.
    """
    log = os.open(cluster.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if not _try_lock(log):
            _stop_predecessor(cluster, log)
        yield log
    finally:
        os.close(log)


def _stop_predecessor(cluster: Cluster, log: int) -> None:
    pid, _ = cluster.server_status()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT
    while not _try_lock(log):
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"a server left behind in {cluster.data} (process {pid}) does not stop: kill it"
            )
        time.sleep(_POLL)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _socket_directory(cluster: Cluster) -> Iterator[Path]:
    """A directory for the unix socket, closed to other users, with a path that libpq takes."""
    directory = cluster.socket_dir
    too_long = len(os.fsencode(directory / ".s.PGSQL.65535.lock")) > _SOCKET_PATH_LIMIT
    if too_long or "," in str(directory):  # to libpq a comma separates two hosts
        directory = Path(tempfile.mkdtemp(prefix="lockkeeper-", dir="/tmp"))  # TMPDIR may be long
    directory.mkdir(mode=0o700, exist_ok=True)
    if cluster.account:
        cluster.account.take(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_password(url: str, cluster: Cluster) -> None:
    try:
        psycopg2.connect(url, connect_timeout=10).close()
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise EmbeddedError(
            f"{cluster.data} does not open with {cluster.password_file}: {reason}"
        ) from None
