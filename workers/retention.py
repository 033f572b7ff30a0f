"""Keeps history in its weeks: at the start and then hourly, whatever else the worker does."""

from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from backend.queue.retention import STRAYS_AT_ONCE, Maintained, maintain
from workers.database import Transactions
from workers.periodic import Periodic, forbidden

log = structlog.get_logger(__name__)

EVERY: Final = 3600.0  # seconds
MORE: Final = 1.0  # seconds, while there is more to delete


class Retention(Periodic):
    """Makes the partitions of coming weeks and drops those that are too old.

    No worker depends on it: a line without a partition of its week lies in the default one. Where
    the worker's role may not make weeks, that is said once.
    """

    def __init__(self, *, transactions: Transactions, keep: timedelta) -> None:
        super().__init__("retention")
        self._transactions = transactions
        self._keep = keep
        self._forbidden = False

    def turn(self) -> float:
        """Maintain once; answers the seconds until the next time."""
        try:
            done = self._transactions.once(lambda session: maintain(session, keep=self._keep))
        except SQLAlchemyError as error:
            self._say_failed(error)
            return EVERY
        _say(done)
        return MORE if done.deleted == STRAYS_AT_ONCE else EVERY

    def _say_failed(self, error: SQLAlchemyError) -> None:
        if not (forbidden(error) and self._forbidden):
            cause = error.orig if isinstance(error, DBAPIError) else error
            log.warning("retention.failed", error=type(cause).__name__)
        self._forbidden = self._forbidden or forbidden(error)


def _say(done: Maintained) -> None:
    if done.blocked:
        log.warning("retention.blocked", partitions=",".join(done.blocked))
    if done.created or done.dropped or done.deleted:
        log.info("retention.done", created=",".join(done.created),
                 dropped=",".join(done.dropped), deleted=done.deleted)  # fmt: skip
