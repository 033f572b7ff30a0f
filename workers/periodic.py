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

    No worker's health depends on one.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause * random.uniform(0.8, 1.2)):
            pause = self.turn()

    @abstractmethod
    def turn(self) -> float:
        """Do it once; answers the seconds until the next time. Raises nothing."""
