"""Does what workloads want done by the clock: each duty in a thread of its own.

Those that have a condition are not looked at by themselves: one look asks for all of them.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions
from backend.queue.duty import LOOK, Duty
from backend.storage.blobs import StorageError
from workers.periodic import NOT_OURS, Periodic, forbidden

log = structlog.get_logger(__name__)

EVERY: Final = LOOK.total_seconds()


class Caller(Periodic):
    """Calls those whose condition holds; all that wait for it where the database does not say.

    Each finds out by itself then, and says what is wrong: one condition that cannot be asked for,
    for want of a right perhaps, spoils the answer for all.
    """

    def __init__(self, called: Sequence[Periodic], *, statements: Autocommit) -> None:
        super().__init__("caller")
        self._all = called
        self._statements = statements

    def turn(self) -> float:
        waiting = [one for one in self._all if one.waiting]
        for one in self._due(waiting):
            one.call()
        return EVERY

    def _due(self, waiting: Sequence[Periodic]) -> Sequence[Periodic]:
        conditions = tuple(one.due for one in waiting if one.due)
        if not conditions:
            return []
        try:
            (holds,) = self._statements.rows(_asking(conditions), {})
        except SQLAlchemyError:
            return waiting
        return [one for one, due in zip(waiting, holds, strict=True) if due]


@cache
def _asking(conditions: tuple[str, ...]) -> Statement:
    return Statement(f"SELECT {', '.join(f'({one})' for one in conditions)}", kind="duties_due")


class OnDuty(Periodic):
    """One duty. What goes wrong is said, and tried again by its clock."""

    def __init__(
        self,
        duty: Duty,
        *,
        sessions: Sessions,
        statements: Autocommit,
        became_ready: Callable[[str], None],
    ) -> None:
        super().__init__(f"duty-{duty.name}", due=duty.due)
        self._duty = duty
        self._sessions = sessions
        self._statements = statements
        self._became_ready = became_ready

    def turn(self) -> float | None:
        every = self._duty.every.total_seconds()
        try:
            for queue in self._duty.run(self._sessions, self._statements):
                self._became_ready(queue)
        except (SQLAlchemyError, StorageError, OSError) as error:
            if forbidden(error):
                log.info("duty.not_ours", duty=self._duty.name, again_in_s=NOT_OURS)
                return NOT_OURS
            cause = error.orig if isinstance(error, DBAPIError) else error
            log.warning("duty.failed", duty=self._duty.name, error=type(cause).__name__)
        except Exception:  # a fault of ours, which nobody else would hear of
            log.exception("duty.broken", duty=self._duty.name)
        else:
            return every if self.due is None else None
        return every
