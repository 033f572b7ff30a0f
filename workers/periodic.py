"""Threads that do something by the clock, whatever else the worker does."""

import random
import threading
from abc import abstractmethod
from typing import Final

NOT_OURS: Final = 3600.0
"""Seconds until what this worker's role may not do is tried again: another part's role does it."""

_FORBIDDEN: Final = "42501"


def forbidden(error: Exception) -> bool:
    """Whether the database refused it because of the role that asked."""
    return getattr(getattr(error, "orig", None), "pgcode", None) == _FORBIDDEN


class Periodic(threading.Thread):
    """Takes its turn at the start, and again after as many seconds as the turn says, jittered.

    One with a condition may leave it to others to say when that holds: it is ``waiting`` then for
    its :meth:`call`. No worker's health depends on one.
    """

    waiting = False

    def __init__(self, name: str, *, due: str | None = None) -> None:
        """``due`` is the condition, in SQL; see :class:`backend.queue.duty.Duty`."""
        super().__init__(name=name, daemon=True)
        self.due = due
        self._called = threading.Event()
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self._called.set()

    def call(self) -> None:
        """Take the next turn at once, where it waits for that."""
        self._called.set()

    def run(self) -> None:
        pause: float | None = 0.0
        while not self._over(pause):
            pause = self.turn()

    def _over(self, pause: float | None) -> bool:
        """Wait until the next turn is due; whether there is to be none."""
        if pause is not None:
            return self._stopped.wait(pause * random.uniform(0.8, 1.2))
        self._called.clear()
        self.waiting = not self._stopped.is_set()
        if self.waiting:
            self._called.wait()
        self.waiting = False
        return self._stopped.is_set()

    @abstractmethod
    def turn(self) -> float | None:
        """Do it once; answers the seconds until the next time, or None: not before it is called.

        Raises nothing.
        """
