"""How attempts end: values, decided without a database."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError

from backend.queue.lease import Lease
from backend.queue.retry import Died, Permanent, TimedOut, Transient, Unreachable, one_line


@dataclass(slots=True)
class Settlement:
    """How one attempt ends. ``delay`` is set where the row becomes ready again later.

    A value that nobody changes, like :class:`~backend.queue.lease.Lease`.
    """

    lease: Lease
    status: str
    outcome: str
    failure: str | None = None
    error: str | None = None
    delay: timedelta | None = None
    attempts: int = 0
    stalls: int = 0
    restart: bool = False
    """Start again from the first stage: the inputs of the next one are gone."""

    def __post_init__(self) -> None:
        # A stranger's text may be in it: what cannot be stored would cost the whole batch.
        if self.error is not None:
            self.error = one_line(self.error)


def columns(settlements: Sequence[Settlement]) -> dict[str, list[Any]]:
    """The parameters ``ends_*`` of the settling statement, an element a row."""
    # All that were claimed together share one object.
    tokens = {id(s.lease.token): s.lease.token for s in settlements}
    texts = {key: str(token) for key, token in tokens.items()}
    return {
        "ends_id": [s.lease.id for s in settlements],
        "ends_token": [texts[id(s.lease.token)] for s in settlements],
        "ends_status": [s.status for s in settlements],
        "ends_outcome": [s.outcome for s in settlements],
        "ends_failure": [s.failure for s in settlements],
        "ends_error": [s.error for s in settlements],
        "ends_delay": [s.delay for s in settlements],
        "ends_attempts": [s.attempts for s in settlements],
        "ends_stalls": [s.stalls for s in settlements],
        "ends_restart": [s.restart for s in settlements],
    }


def done(lease: Lease, *, status: str | None = None) -> Settlement:
    ends = status or lease.queue.done
    return Settlement(lease, ends, "done", None, None, None, lease.attempts)


def failed(lease: Lease, failure: str, error: str) -> Settlement:
    """It ends here: ``failure`` is one of ``lifecycle.FAILURES``."""
    return Settlement(lease, lease.queue.failed, "failed", failure, error, attempts=lease.attempts)


def snoozed(lease: Lease, delay: timedelta, why: str) -> Settlement:
    """Ready again after ``delay``; no attempt burnt, and no stall cleared: it proved nothing."""
    return _again(lease, "snoozed", why, delay, attempts=lease.attempts - 1, stalls=lease.stalls)


def rewound(lease: Lease, why: str) -> Settlement:
    """Ready again from the first stage, after the usual delay of a failed attempt.

    Rewinds are counted apart: each commit on the way counts the attempts anew, and a row that comes
    back to where its inputs are gone would never be exhausted.
    """
    if max(lease.attempts, lease.rewinds + 1) >= lease.max_attempts:
        return failed(lease, "exhausted", why)
    delay = lease.queue.backoff.delay(lease.attempts)
    return replace(_again(lease, "retry", why, delay, attempts=lease.attempts), restart=True)


def released(lease: Lease) -> Settlement:
    """Handed back untouched: no attempt burnt, no stall cleared, no delay."""
    return _again(lease, "released", None, None, attempts=lease.attempts - 1, stalls=lease.stalls)


def after_error(lease: Lease, error: BaseException) -> Settlement:
    """What an exception of a step means for its row. Unknown exceptions count as transient."""
    if isinstance(error, Permanent):
        return failed(lease, "permanent", error.detail)
    if isinstance(error, Died):
        return _after_death(lease, error)
    if isinstance(error, Unreachable):
        return snoozed(lease, error.retry_after, error.detail)
    # A database error's own text holds the statement and its parameters.
    said = type(error.orig).__name__ if isinstance(error, DBAPIError) else error
    detail = getattr(error, "detail", None) or f"{type(error).__name__}: {said}"
    if lease.attempts >= lease.max_attempts:
        return failed(lease, "timeout" if isinstance(error, TimedOut) else "exhausted", detail)
    kind, at_least = "transient", None
    if isinstance(error, Transient):
        kind, at_least = error.kind, error.retry_after
    delay = lease.queue.backoff.delay(lease.attempts, kind=kind, at_least=at_least)
    return _again(lease, "retry", detail, delay, attempts=lease.attempts)


def _after_death(lease: Lease, error: Died) -> Settlement:
    if lease.suspect:
        return failed(lease, "poison", error.detail)
    delay = lease.queue.backoff.delay(lease.stalls + 1)
    return _again(
        lease, "died", error.detail, delay, attempts=lease.attempts - 1, stalls=lease.stalls + 1
    )


def _again(
    lease: Lease, outcome: str, error: str | None, delay: timedelta | None, *,
    attempts: int, stalls: int = 0,
) -> Settlement:  # fmt: skip
    return Settlement(
        lease, lease.queue.ready, outcome, None, error, delay, max(attempts, 0), stalls
    )
