"""How a step says how far it is, and how one in a thread hears that its row was taken back.

A step calls :func:`report` as often as it likes; whoever runs it decides what is passed on. Imports
nothing heavy: a child has it, too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from backend.queue.retry import one_line

MAX_MESSAGE: Final = 200  # characters


class Reporter(Protocol):
    """Where a step's words go."""

    def report(self, percent: int, message: str) -> None:
        """Pass it on, or not. Raises LeaseLost where the row was taken back."""

    def until(self, stop: Callable[[], None] | None) -> None:
        """Call ``stop`` once the row is taken back; None: there is nothing to stop any more."""


_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def report(percent: float, message: str = "") -> None:
    """Say how far this step is: 0 to 100 percent, and in a few words what it is at.

    Raises:
        LeaseLost: in a thread, once the row was cancelled or taken back: to be let through.
    """
    if (reporter := _reporter.get()) is not None:
        reporter.report(max(0, min(100, int(percent))), one_line(message)[:MAX_MESSAGE])


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call ``stop`` from another thread once the row is taken back.

    For what a thread cannot look up from: a statement that takes minutes. A child needs none of
    it: it is killed.
    """
    reporter = _reporter.get()
    if reporter is None:
        yield
        return
    reporter.until(stop)
    try:
        yield
    finally:
        reporter.until(None)


@contextmanager
def reported_to(reporter: Reporter) -> Iterator[None]:
    """For who runs a step: in the block, :func:`report` speaks to ``reporter``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
