"""Which errors are worth another attempt, and when. Pure functions."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

MAX_DETAIL: Final = 1000  # characters


def one_line(detail: str) -> str:
    """``detail`` as one line that can be stored and shown, whatever a stranger put into it.

    NUL characters and lone surrogates, which PostgreSQL refuses, and all else that does not
    print become spaces.
    """
    cut = detail[: 4 * MAX_DETAIL]
    shown = "".join(c if c.isprintable() else " " for c in cut)
    return " ".join(shown.split())[:MAX_DETAIL]


class EngineError(Exception):
    """Something the engine says about a row; never a fault of the row's own work."""


class LeaseLost(EngineError):
    """The row was reaped, cancelled or settled by someone else. Drop the result; never retry."""


class StepError(Exception):
    """What a step raises. ``detail`` is one line that may be stored and shown."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = one_line(detail)


class Transient(StepError):
    """The world failed (network, 429, 5xx, storage): worth another attempt.

    Args:
        retry_after: the earliest time worth trying, where the other side named one.
        kind: names the row of ``Backoff.by_kind`` that applies.
    """

    def __init__(
        self, detail: str, *, retry_after: timedelta | None = None, kind: str = "transient"
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.kind = kind


class Unreachable(StepError):
    """What the step needs is known to be down: not the row's fault, so no attempt is burnt.

    Args:
        retry_after: the row is ready again after this time.
    """

    def __init__(self, detail: str, *, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Permanent(StepError):
    """The row's own input is at fault: another attempt would fail alike."""


class SoftLimit(BaseException):
    """Raised inside a PROCESS step shortly before it is killed, for it to clean up.

    No Exception: code that takes any error for bad input must not take this one for it.
    """


class TimedOut(StepError):
    """The step outlived its limit. Worth another attempt; the last one fails as ``timeout``."""


class Died(StepError):
    """The row's own child process died abnormally (signal, memory). Counts as a stall."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before attempt n + 1: ``schedule[n - 1]``, else base · 2^(n - 1), at most ``cap``.

    With full jitter the delay is uniform in (0, d]; a fixed schedule is kept within ± 10 %.
    """

    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=10)
    schedule: tuple[timedelta, ...] = ()
    by_kind: Mapping[str, "Backoff"] = field(default_factory=dict)

    def delay(
        self, attempt: int, *, kind: str = "transient", at_least: timedelta | None = None
    ) -> timedelta:
        """How long to wait after ``attempt`` (counted from 1) failed, jitter included."""
        if kind in self.by_kind:
            return self.by_kind[kind].delay(attempt, at_least=at_least)
        if self.schedule:
            planned = self.schedule[min(attempt, len(self.schedule)) - 1]
            jittered = planned * random.uniform(0.9, 1.1)
        else:
            # 2^30 base units is beyond any cap; a larger exponent would only overflow.
            planned = min(self.cap, self.base * 2 ** min(attempt - 1, 30))
            jittered = planned * (1.0 - random.random())
        return max(jittered, at_least) if at_least else jittered
