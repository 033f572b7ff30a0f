"""A circuit breaker for each external host: one that is down is left alone, and its rows wait.

*Closed*: calls pass. After :data:`FAILURES` failures of the host in a row, with no success between
them, it *opens*: calls are refused at once. When its time is over it is *half-open*: exactly one
call, the probe, is admitted. If that succeeds the breaker closes; if it fails, the breaker opens
again for longer. A call that was admitted earlier says nothing any more when it ends.

A refusal is :class:`CircuitOpen`, which a row survives with all its attempts. So does the failure
that opened the breaker and every failed probe: it is known then that the host is at fault.

State lives in one process and is forgotten with it; a restarted worker learns it anew.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import structlog

from backend.queue.retry import Unreachable

log = structlog.get_logger(__name__)

FAILURES: Final = 5
SHORTEST: Final = timedelta(seconds=5)
LONGEST: Final = timedelta(seconds=60)
SPREAD: Final = timedelta(minutes=4)
"""Refused rows come back over as long as the host has been down, but at most over this."""
PATIENCE: Final = timedelta(minutes=10)
"""After so long without an answer a probe is given up and another one is admitted."""

State: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitOpen(Unreachable):
    """A host is failing and is not asked for now."""

    def __init__(self, detail: str, *, host: str, retry_after: timedelta) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.host = host


def host_of(url: str) -> str:
    """``host[:port]`` of a URL, without user-info: the name of its breaker."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Rules:
    """When a breaker opens and for how long.

    Args:
        failures: in a row, until it opens.
        shortest: the first open time; it doubles up to ``longest``, less up to half as jitter.
        clock: monotonic, in seconds.
        jitter: a number in [0, 1), another one each time.
    """

    failures: int = FAILURES
    shortest: timedelta = SHORTEST
    longest: timedelta = LONGEST
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def open_seconds(self, openings: int) -> float:
        """How long to stay open the ``openings``-th time in a row."""
        # 2^30 is beyond any longest time; a larger exponent would only overflow.
        planned = min(self.longest, self.shortest * 2.0 ** min(openings - 1, 30))
        return planned.total_seconds() * (1.0 - self.jitter() / 2)

    def spread_seconds(self, down: float) -> float:
        """How much later than the next probe a row comes back, after ``down`` seconds."""
        most = max(self.shortest.total_seconds(), min(down, SPREAD.total_seconds()))
        return most * self.jitter()


class Breakers:
    """One breaker a host. Safe to share between threads."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._lock = Lock()
        self._breakers: dict[str, Breaker] = {}

    def of(self, host: str) -> "Breaker":
        """The breaker of ``host``, made when it is first asked for."""
        with self._lock:
            if host not in self._breakers:
                self._breakers[host] = Breaker(host, self._rules)
            return self._breakers[host]

    def states(self) -> dict[str, State]:
        """Host → state, of every host that was asked for so far."""
        with self._lock:
            breakers = list(self._breakers.values())
        return {breaker.host: breaker.state for breaker in breakers}


class Breaker:
    """See the module. Its lock is held while it decides, never while a host is asked."""

    def __init__(self, host: str, rules: Rules) -> None:
        self.host = host
        self._rules = rules
        self._lock = Lock()
        self._turn = 0  # calls admitted in another turn do not count when they end
        self._failures = 0  # in a row
        self._openings = 0  # in a row; 0 = closed
        self._not_before = 0.0  # what the host itself asked for with Retry-After
        self._down_since = 0.0
        self._until = 0.0  # nobody is admitted before
        self._probing = False

    @property
    def state(self) -> State:
        with self._lock:
            if self._openings == 0:
                return "closed"
            due = self._probing or self._rules.clock() >= self._until
            return "half-open" if due else "open"

    def refuse_if_open(self) -> None:
        """Raise CircuitOpen where a call would be refused now; for work that is in vain then."""
        with self._lock:
            self._refuse(self._rules.clock())

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Ask the host inside this block, if it may be asked.

        Args:
            failures: the exceptions that are the host's fault. Their attribute ``retry_after``, a
                timedelta, is the least time to stay open. Any other exception came of an answer.

        Raises:
            CircuitOpen: the host is not asked now; or it was, failed, and is not asked again.
        """
        turn = self._admit()
        try:
            yield
        except failures as error:
            refused = self._failed(turn, error)
            if refused is not None:
                raise refused from error
            raise
        except CircuitOpen:  # of another host, before this one was asked
            self._hand_back(turn)
            raise
        except Exception:
            self._answered(turn)
            raise
        except BaseException:
            self._hand_back(turn)
            raise
        self._answered(turn)

    def _admit(self) -> int:
        with self._lock:
            now = self._rules.clock()
            self._refuse(now)
            if self._openings:
                self._turn += 1
                self._probing = True
                self._until = now + PATIENCE.total_seconds()
            return self._turn

    def _refuse(self, now: float) -> None:
        if self._openings and now < self._until:
            raise self._refusal(now, f"{self.host} is failing and is not asked for now")

    def _refusal(self, now: float, detail: str) -> CircuitOpen:
        ahead = 0.0 if self._probing else max(0.0, self._until - now)
        later = self._rules.spread_seconds(now - self._down_since)
        wait = timedelta(seconds=ahead + later)
        return CircuitOpen(detail, host=self.host, retry_after=wait)

    def _failed(self, turn: int, error: Exception) -> CircuitOpen | None:
        """What is to be raised instead of ``error``, if anything."""
        opened = False
        with self._lock:
            now = self._rules.clock()
            if turn == self._turn:
                opened = self._count(now, getattr(error, "retry_after", None))
            why = f"{error}; {self.host} is left alone for now"
            refused = self._refusal(now, why) if self._openings else None
            failures, seconds = self._failures, self._until - now
        if opened:
            log.warning("breaker.opened", host=self.host, failures=failures,
                        seconds=round(seconds, 1))  # fmt: skip
        return refused

    def _count(self, now: float, retry_after: timedelta | None) -> bool:
        """One more failure; True where it opened a closed breaker."""
        self._failures += 1
        if retry_after is not None:
            self._not_before = max(self._not_before, now + retry_after.total_seconds())
        if not self._openings and self._failures < self._rules.failures:
            return False
        self._turn += 1
        self._openings += 1
        self._probing = False
        self._until = max(now + self._rules.open_seconds(self._openings), self._not_before)
        if self._openings > 1:
            return False
        self._down_since = now
        return True

    def _answered(self, turn: int) -> None:
        with self._lock:
            if turn != self._turn:
                return
            closed, failures = self._openings > 0, self._failures
            seconds = self._rules.clock() - self._down_since
            self._failures = self._openings = 0
            self._not_before = 0.0
            self._probing = False
            self._turn += closed
        if closed:
            log.info("breaker.closed", host=self.host, failures=failures,
                     seconds=round(seconds, 1))  # fmt: skip

    def _hand_back(self, turn: int) -> None:
        """The call was cut short, the host innocent: the next caller is the probe."""
        with self._lock:
            if turn == self._turn and self._probing:
                self._probing = False
                self._until = self._rules.clock()
