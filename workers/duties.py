"""Does what workloads want done by the clock: each duty in a thread of its own."""

from collections.abc import Callable

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.queue.duty import Duty
from backend.storage.blobs import StorageError
from workers.periodic import NOT_OURS, Periodic, forbidden

log = structlog.get_logger(__name__)


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
        super().__init__(f"duty-{duty.name}")
        self._duty = duty
        self._sessions = sessions
        self._statements = statements
        self._became_ready = became_ready

    def turn(self) -> float:
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
        return self._duty.every.total_seconds()
