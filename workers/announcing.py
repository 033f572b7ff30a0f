"""Words that are said only where what they tell of lasts a while."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE: Final = 0.25
"""Seconds after which work that is still under way is worth a word."""


class _Pending:
    __slots__ = ("due", "over", "say")

    def __init__(self, say: Callable[[], bool], due: float) -> None:
        self.say = say
        self.due = due
        self.over = False


class Announcer:
    """Says that something is under way, unless it was over before; for any number of threads.

    Its one thread lives while there is anything it may have to say.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        """``patience`` is in seconds."""
        self._patience = patience
        self._lock = threading.Lock()
        self._pending: deque[_Pending] = deque()  # in the order in which they are due
        self._runs = False

    @contextmanager
    def during(self, say: Callable[[], bool]) -> Iterator[Callable[[], None]]:
        """Yield what is to be called when the work begins; the block ends it.

        ``say`` must not raise, nor wait for long: all others wait for it. Where it answers False
        it is said again later. It may still be under way when the block has ended.
        """
        pending: list[_Pending] = []
        try:
            yield lambda: pending.append(self._expect(say))
        finally:
            for one in pending:
                one.over = True

    def _expect(self, say: Callable[[], bool]) -> _Pending:
        one = _Pending(say, time.monotonic() + self._patience)
        with self._lock:
            if not self._runs:  # should it not start, the next one tries again
                threading.Thread(target=self._run, name="announcer", daemon=True).start()
                self._runs = True
            self._pending.append(one)
        return one

    def _run(self) -> None:
        while (first := self._first()) is not None:
            if (pause := first.due - time.monotonic()) > 0:
                time.sleep(pause)
            elif not first.over:
                self._say(first)

    def _say(self, first: _Pending) -> None:
        if first.say():
            first.over = True
        else:  # behind all others
            with self._lock:
                first.due = time.monotonic() + self._patience
                self._pending.rotate(-1)

    def _first(self) -> _Pending | None:
        """The first that is not over; where there is none, the thread has ended."""
        with self._lock:
            while self._pending and self._pending[0].over:
                self._pending.popleft()
            self._runs = bool(self._pending)
            return self._pending[0] if self._pending else None
