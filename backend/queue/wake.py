"""LISTEN/NOTIFY: a hint that makes pickup take milliseconds. Polling stays the truth.

A NOTIFY from here never rides in the producer's commit: it would serialise commits on one lock. It
goes out on a connection of its own: at once on the leading edge, then at most every 50 ms.
"""

import selectors
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg2
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

CHANNEL: Final = "lockkeeper_ready"
TRAIL: Final = 0.05  # seconds between two notifications of one process
LOOK: Final = 1.0  # seconds between two looks of a listener that hears nothing

_CANCELLED: Final = "cancelled:"

log = structlog.get_logger(__name__)


def cancellation(queue: str) -> str:
    """The hint that rows of ``queue`` were cancelled: a worker may be running one of them."""
    return _CANCELLED + queue


def cancelled(hint: str) -> str | None:
    """In which queue rows were cancelled; None where the hint says that some became ready."""
    return hint.removeprefix(_CANCELLED) if hint.startswith(_CANCELLED) else None


def _notify(times: int) -> str:
    """One message, whose payloads the driver puts in; nobody waits for the disk for a hint."""
    hints = [f"NOTIFY {CHANNEL}, %s"] * times
    return ";".join(["SET LOCAL synchronous_commit = off", *hints])


class Notifier:
    """Tells listening workers that rows became ready; call :meth:`ready` after the commit.

    Never raises and never blocks: a lost hint costs at most one polling interval. From the first
    hint on it keeps one connection of its own, beside the pool.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: set[str] = set()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Any = None

    def ready(self, *queues: str) -> None:
        if self._waiting.issuperset(queues):  # what waits is sent later than now
            return
        with self._changed:
            self._waiting.update(queues)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, then stop."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed.is_set())
                queues, self._waiting = self._waiting, set()
                closing = self._closed.is_set()
            if queues:
                self._send(queues)
            if closing:
                self._disconnect()
                return
            # Not on the condition: each hint of a busy producer would wake this thread for nothing.
            self._closed.wait(TRAIL)

    def _send(self, queues: set[str]) -> None:
        """In one round trip: a transaction around it would take three more."""
        kept = self._connection is not None
        try:
            if not kept:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(_notify(len(queues)), sorted(queues))
        except (SQLAlchemyError, psycopg2.Error) as error:
            self._disconnect()
            if kept:  # it may have broken long ago: nobody looked
                self._send(queues)
            else:
                log.warning("notify.failed", error=type(error).__name__)

    def _connect(self) -> Any:
        """Out of the pool for good, so that its users cannot want for one."""
        raw = self._engine.raw_connection()
        connection = raw.driver_connection
        assert connection is not None
        raw.detach()
        connection.autocommit = True
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Listener:
    """A thread that listens on a direct connection and calls ``wake(queue)`` for each hint.

    A connection that went deaf is noticed: each silent ``canary`` seconds it notifies itself,
    and re-opens the connection when its own hint does not come back. ``lost()`` is called for
    each connection that broke or went deaf.
    """

    def __init__(
        self,
        engine: Engine,
        wake: Callable[[str], None],
        canary: float = 30.0,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._wake = wake
        self._lost = lost
        self._canary = canary
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        pause = 0.1
        while not self._stopped.is_set():
            try:
                self._listen()
                pause = 0.1
            # Where it cannot connect, it is the driver's own error: nobody wraps it for a raw
            # connection.
            except (SQLAlchemyError, psycopg2.Error, OSError) as error:
                log.warning("listener.lost", error=type(error).__name__, retry_in_s=pause)
                self._lost()
                self._stopped.wait(pause)
                pause = min(pause * 2, 5.0)

    def _listen(self) -> None:
        raw = self._engine.raw_connection()
        try:
            connection = raw.driver_connection
            assert connection is not None
            connection.set_session(autocommit=True)
            with connection.cursor() as cursor, selectors.DefaultSelector() as selector:
                cursor.execute(f"LISTEN {CHANNEL}")
                selector.register(connection, selectors.EVENT_READ)
                self._hear(connection, selector)
        finally:
            raw.invalidate()

    def _hear(self, connection: Any, selector: selectors.BaseSelector) -> None:
        """Pass hints on, until told to stop or the connection turns out to be deaf."""
        canary = f"canary {id(self)}"
        silent_since, asked = time.monotonic(), False
        while not self._stopped.is_set():
            selector.select(LOOK)
            connection.poll()
            heard = [notice.payload for notice in connection.notifies]
            connection.notifies.clear()
            for queue in heard:
                if queue != canary:
                    self._wake(queue)
            if heard:
                silent_since, asked = time.monotonic(), False
            elif time.monotonic() - silent_since >= self._canary:
                if asked:
                    log.warning("listener.deaf", silent_s=round(2 * self._canary))
                    self._lost()
                    return
                self._ask(canary)
                silent_since, asked = time.monotonic(), True

    def _ask(self, canary: str) -> None:
        """On a connection made for it: a deaf one would take the question and never answer."""
        with self._engine.connect() as asking:
            asking.execution_options(isolation_level="AUTOCOMMIT")
            asking.exec_driver_sql(_notify(1), (canary,))
            asking.invalidate()
