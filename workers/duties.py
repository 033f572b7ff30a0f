"""Does what workloads want done by the clock: each duty in a thread of its own."""

import random
import threading
from collections.abc import Callable

import structlog

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.queue.duty import Duty

log = structlog.get_logger(__name__)


class OnDuty(threading.Thread):
    """One duty, at the start and then by its clock. What goes wrong is said, and tried again.

    No worker's health depends on it.
    """

    def __init__(
        self,
        duty: Duty,
        *,
        sessions: Sessions,
        statements: Autocommit,
        became_ready: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"duty-{duty.name}", daemon=True)
        self._duty = duty
        self._sessions = sessions
        self._statements = statements
        self._became_ready = became_ready
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause * random.uniform(0.8, 1.2)):
            self.turn()
            pause = self._duty.every.total_seconds()

    def turn(self) -> None:
        """Do it once."""
        try:
            ready = self._duty.run(self._sessions, self._statements)
        except Exception as error:  # noqa: BLE001 - a duty that fails once is due again
            cause = getattr(error, "orig", None) or error
            log.warning("duty.failed", duty=self._duty.name, error=type(cause).__name__)
            return
        for queue in ready:
            self._became_ready(queue)
