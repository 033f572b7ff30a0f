"""Transactions that outlive a lost database: back off, reconnect, go on."""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from backend.db import Sessions

T = TypeVar("T")
log = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.05  # seconds
LONGEST_PAUSE: Final = 5.0  # seconds
WORTH_REPEATING: Final = ("40P01", "40001", "55P03", "57P01", "57P02", "57P03", "57014")
"""Deadlock, serialisation, lock timeout, shutdowns, statement timeout."""


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


class Transactions:
    """``run(work)`` commits ``work(session)``, again and again until the database takes it."""

    def __init__(self, sessions: Sessions, stop: threading.Event) -> None:
        self._sessions = sessions
        self._stop = stop

    def once(self, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            return work(session)

    def run(self, work: Callable[[Session], T], *, doing: str) -> T:
        """A try whose answer was lost may have committed: ``work`` must be fenced or harmless.

        Raises:
            Stopped: the worker's last grace is over.
            Exception: whatever is not worth repeating.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return self.once(work)
            except Exception as error:
                if not worth_repeating(error):
                    raise
                log.warning("database.unavailable", doing=doing, error=type(error).__name__,
                            retry_in_ms=round(pause * 1000))  # fmt: skip
            if self._stop.wait(pause):
                raise Stopped(doing)
            pause = min(pause * 2, LONGEST_PAUSE)
