"""How a step says how far it is, and how one in a thread hears that its row was taken back.

A step calls :func:`report` as often as it likes; whoever runs it decides what is passed on. Imports
nothing heavy: a child has it, too.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol

from backend.queue.retry import one_line

MAX_MESSAGE: Final = 200  # characters
MOST: Final = 100  # percent
MARK: Final = b"~"
"""How a word begins where answers, which are JSON, come the same way."""


class Reporter(Protocol):
    """Where a step's words go."""

    def report(self, percent: int, message: str) -> None:
        """Pass it on, or not. Raises LeaseLost where the row was taken back."""

    def interruptible(self, stop: Callable[[], None]) -> AbstractContextManager[None]:
        """See :func:`interruptible`."""


_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def report(percent: float, message: str = "") -> None:
    """Say how far this step is: 0 to 100 percent, and in a few words what it is at.

    Raises:
        LeaseLost: in a thread, once the row was cancelled or taken back: to be let through.
    """
    if (reporter := _reporter.get()) is not None:
        reporter.report(max(0, min(MOST, int(percent))), one_line(message)[:MAX_MESSAGE])


def interruptible(stop: Callable[[], None]) -> AbstractContextManager[None]:
    """While the block runs, call ``stop`` from another thread once the row is taken back.

    For what a thread cannot look up from: a statement that takes minutes. A child needs none of
    it: it is killed.
    """
    reporter = _reporter.get()
    return nullcontext() if reporter is None else reporter.interruptible(stop)


def speak_to(reporter: Reporter) -> None:
    """For who runs steps: from now on :func:`report` speaks to ``reporter`` in this thread."""
    _reporter.set(reporter)


@contextmanager
def reported_to(reporter: Reporter | None) -> Iterator[None]:
    """For who runs a step: in the block, :func:`report` speaks to ``reporter``, or to nobody."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def packed(percent: int, message: str) -> bytes:
    """A word, to be sent."""
    return MARK + json.dumps([percent, message]).encode()


def unpacked(word: bytes) -> tuple[int, str]:
    """A word that came from a stranger's process.

    Raises:
        ValueError: it is none.
    """
    try:
        said = json.loads(word.removeprefix(MARK))
    except RecursionError:
        said = None
    match said:
        case [bool(), _]:
            pass
        case [int(percent), str(message)] if 0 <= percent <= MOST:
            return percent, one_line(message)[:MAX_MESSAGE]
    raise ValueError("no word")
