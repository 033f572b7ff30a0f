"""Transactions that outlive a lost database: back off, reconnect, go on."""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from backend.db import Sessions, single

T = TypeVar("T")
log = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.05  # seconds
LONGEST_PAUSE: Final = 5.0  # seconds
WORTH_REPEATING: Final = (
    "40P01", "40001", "55P03", "57P01", "57P02", "57P03", "57014", "25006",
)  # fmt: skip
"""Deadlock, serialisation, lock timeout, shutdowns, statement timeout; read-only: a standby that
is yet to take over, or a server without room."""
OF_THE_DATA: Final = ("22", "23", "54")
"""Classes of errors that come of what is to be stored: PostgreSQL's appendix A."""


class Stopped(Exception):
    """The worker stops; the transaction was not made."""


def worth_repeating(error: Exception) -> bool:
    """Whether the same transaction may well succeed in a moment."""
    if isinstance(error, InterfaceError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "pgcode", None)
        if code is None:
            return isinstance(error, OperationalError) or error.connection_invalidated
        return code in WORTH_REPEATING or code.startswith(("08", "53"))
    return False


def refuses_data(error: Exception) -> bool:
    """Whether it is the row's own data that cannot be stored, now or ever.

    NUL characters and lone surrogates are refused by the driver itself, with a ValueError.
    """
    if isinstance(error, DBAPIError):
        return (getattr(error.orig, "pgcode", None) or "").startswith(OF_THE_DATA)
    return isinstance(error, ValueError)


class Transactions:
    """``run(work)`` commits ``work(session)``, again and again until the database takes it."""

    def __init__(self, sessions: Sessions, stop: threading.Event) -> None:
        self._sessions = sessions
        self._stop = stop

    @property
    def engine(self) -> Engine:
        engine = self._sessions.kw["bind"]
        assert isinstance(engine, Engine)
        return engine

    def once(self, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            return work(session)

    def single(self, work: Callable[[Session], T]) -> T:
        """``work(session)``, whose every statement is a transaction of its own: no COMMIT."""
        with single(self._sessions) as session, session.begin():
            return work(session)

    def run(
        self,
        work: Callable[[Session], T],
        *,
        doing: str,
        failed: Callable[[], None] = lambda: None,
    ) -> T:
        """A try whose answer was lost may have committed: ``work`` must be fenced or harmless.

        Args:
            work: what is to be committed.
            doing: its name in the log.
            failed: called after each try that is to be repeated; must not wait.

        Raises:
            Stopped: the worker's last grace is over.
            Exception: whatever is not worth repeating.
        """
        return self.repeat(lambda: self.once(work), doing=doing, failed=failed)

    def repeat(
        self, attempt: Callable[[], T], *, doing: str, failed: Callable[[], None] = lambda: None
    ) -> T:
        """``attempt()``, which makes its own transaction, as :meth:`run` does."""
        pause = FIRST_PAUSE
        while True:
            try:
                return attempt()
            except Exception as error:
                if not worth_repeating(error):
                    raise
                log.warning("database.unavailable", doing=doing, error=type(error).__name__,
                            retry_in_ms=round(pause * 1000))  # fmt: skip
            failed()
            if self._stop.wait(pause):
                raise Stopped(doing)
            pause = min(pause * 2, LONGEST_PAUSE)
