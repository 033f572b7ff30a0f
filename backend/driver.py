"""psycopg2 with fewer round trips: BEGIN goes out with a transaction's first statement.

The driver by itself sends BEGIN and waits for the answer. Here it is in its autocommit mode while
a transaction lasts. Where that stands is not guessed: ``get_transaction_status`` is what the
server said with its last answer.
"""

import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeAlias

from psycopg2 import extensions
from psycopg2.extensions import TRANSACTION_STATUS_IDLE as IDLE
from psycopg2.sql import Composable

from backend.at_once import Readiness

Query: TypeAlias = str | bytes | Composable

BEGIN: Final = {
    None: "BEGIN; ",
    extensions.ISOLATION_LEVEL_READ_COMMITTED: "BEGIN ISOLATION LEVEL READ COMMITTED; ",
    extensions.ISOLATION_LEVEL_REPEATABLE_READ: "BEGIN ISOLATION LEVEL REPEATABLE READ; ",
    extensions.ISOLATION_LEVEL_SERIALIZABLE: "BEGIN ISOLATION LEVEL SERIALIZABLE; ",
    extensions.ISOLATION_LEVEL_READ_UNCOMMITTED: "BEGIN ISOLATION LEVEL READ UNCOMMITTED; ",
}
WRITES_REFUSED: Final = "25006"
"""SQLSTATE: the connection leads to a standby, or the server is set to take no writes."""
TRUSTED: Final = 15.0  # seconds since its last use: keepalives have found a dead peer out by then


def _moment(value: str | bytes | None, cursor: extensions.cursor) -> datetime | None:
    """As the driver reads a ``timestamptz``, in half the time: of a claim's columns the dearest."""
    if isinstance(value, str):
        with suppress(ValueError):  # infinity, and what was before our era
            return datetime.fromisoformat(value)
    found: datetime | None = extensions.PYDATETIMETZ(value, cursor)
    return found


MOMENTS: Final = extensions.new_type((1184,), "TIMESTAMPTZ", _moment)


class Connection(extensions.connection):
    """Begins a transaction in the message of its first statement; in autocommit it begins none.

    One that has had no statement costs no round trip, and a statement that the server cannot even
    parse begins none. Server-side cursors, ``readonly`` and ``deferrable`` are not served.
    """

    limits = ""
    """What the next transaction begins with: settings local to it, each ended by a semicolon."""

    single = False
    """Whether until the next commit or rollback each statement is a transaction of its own.

    The server makes one of a message: the limits and the statement. Nothing is left open.
    """

    _began = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = Cursor
        extensions.register_type(MOMENTS, self)
        self.prepared: set[str] = set()
        """The names of the statements that its user prepared on it."""
        self._used = time.monotonic()
        self._spoken_to = Readiness(self.fileno(), select.POLLIN)

    @property
    def autocommit(self) -> bool:
        """Whether it was asked for; not the driver's mode while a transaction lasts."""
        return super().autocommit and not self._began

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.set_session(autocommit=value)

    def set_isolation_level(self, level: int | None) -> None:
        """As the driver's, but a broken connection, on its way out of a pool, has none."""
        if not self.closed:
            super().set_isolation_level(level)

    def opening(self) -> str:
        """What the next statement is to begin with, so that it is in a transaction."""
        if self.get_transaction_status() != IDLE or self.autocommit:
            return ""
        if not self._began:
            self._began = True
            self.set_session(autocommit=True)
        return ("" if self.single else BEGIN[self.isolation_level]) + self.limits

    def commit(self) -> None:
        self._end("COMMIT", super().commit)

    def rollback(self) -> None:
        self._end("ROLLBACK", super().rollback)

    def _end(self, how: str, drivers: Callable[[], None]) -> None:
        """Also where the server refused to commit: a rollback may still be due then.

        Args:
            how: the statement.
            drivers: the same of a transaction that the driver itself began, for other cursors.
        """
        self.limits, self.single = "", False
        try:
            if not self._began:
                drivers()
            elif self.get_transaction_status() != IDLE:
                with self.cursor() as cursor:
                    cursor.execute(how)
        finally:
            self.answered()
            if self._began and self.get_transaction_status() == IDLE:
                self._began = False
                self.set_session(autocommit=False)

    def answered(self) -> None:
        """Note that it was used just now; commit and rollback do so by themselves."""
        self._used = time.monotonic()

    @property
    def left_open(self) -> bool:
        """Whether a transaction, perhaps a failed one, was left behind, or it is broken.

        A COMMIT that times out may leave its transaction open.
        """
        return self.get_transaction_status() != IDLE

    @property
    def trusted(self) -> bool:
        """Whether it may be used without asking the server: it just was, and nothing came since.

        The server says so when it ends a connection, and so does the kernel when it breaks.
        """
        return time.monotonic() - self._used < TRUSTED and not self._spoken_to.now()


class Cursor(extensions.cursor):
    connection: Connection

    def execute(self, query: Query, vars: Any = None) -> None:  # noqa: A002 - the driver's name
        if opening := self.connection.opening():
            if isinstance(query, str):
                query = opening + query
            else:
                super().execute(opening)
        super().execute(query, vars)

    def executemany(self, query: Query, vars_list: Iterable[Any]) -> None:
        if opening := self.connection.opening():
            super().execute(opening)
        super().executemany(query, vars_list)
