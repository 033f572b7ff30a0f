"""When a failed attempt is tried again: pure functions."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.lifecycle import FAILURES, Queue, Stage
from backend.queue.retry import (
    MAX_DETAIL,
    Backoff,
    Died,
    Permanent,
    TimedOut,
    Transient,
    Unreachable,
    one_line,
)

SECOND = timedelta(seconds=1)
QUEUE = Queue(
    name="q", table="none", ready="ready", stages=(Stage("run", "running"),), done="done",
    failed="failed", backoff=Backoff(base=SECOND, cap=timedelta(minutes=1)),
)  # fmt: skip


def lease(**values: Any) -> Lease:
    now = datetime.now(UTC)
    whole = {"attempts": 1, "max_attempts": 4, "stalls": 0, **values}
    return Lease(QUEUE, 1, uuid4(), "running", None, 5, now, **whole)


@given(attempt=st.integers(1, 10_000))
def test_a_delay_is_positive_and_never_above_the_doubled_base_or_the_cap(attempt: int) -> None:
    backoff = Backoff(base=SECOND, cap=timedelta(minutes=10))
    longest = min(timedelta(minutes=10), SECOND * 2 ** min(attempt - 1, 20))

    assert timedelta(0) < backoff.delay(attempt) <= longest


@given(attempt=st.integers(1, 100))
def test_a_schedule_is_kept_within_a_tenth_and_its_last_entry_repeats(attempt: int) -> None:
    schedule = tuple(timedelta(seconds=s) for s in (60, 180, 600))
    planned = schedule[min(attempt, 3) - 1]

    assert planned * 0.9 <= Backoff(schedule=schedule).delay(attempt) <= planned * 1.1


@given(attempt=st.integers(1, 100), wait=st.integers(0, 10_000))
def test_the_other_sides_retry_after_is_respected(attempt: int, wait: int) -> None:
    at_least = timedelta(seconds=wait)

    assert Backoff().delay(attempt, at_least=at_least) >= at_least


def test_a_kind_of_error_may_have_a_schedule_of_its_own() -> None:
    slow = Backoff(schedule=(timedelta(hours=1),))
    backoff = Backoff(base=SECOND, by_kind={"rate": slow})

    assert backoff.delay(1, kind="rate") >= timedelta(minutes=54)
    assert backoff.delay(1, kind="other") <= SECOND


def test_the_shortest_delays_of_a_burst_are_spread() -> None:
    delays = {Backoff(base=timedelta(minutes=1)).delay(1) for _ in range(50)}

    assert len(delays) == 50


@given(st.text(st.characters(codec=None, categories=["L", "N", "C", "Z", "P"])))
def test_a_detail_is_one_short_line_that_a_database_can_store(detail: str) -> None:
    shown = one_line(detail)

    assert len(shown) <= MAX_DETAIL
    assert shown == "" or shown.isprintable()
    assert shown.encode("utf-8") is not None
    assert one_line(shown) == shown


@pytest.mark.parametrize(
    ("error", "attempts", "outcome", "failure"),
    [
        (Permanent("x"), 1, "failed", "permanent"),
        (Transient("x"), 3, "retry", None),
        (Transient("x"), 4, "failed", "exhausted"),
        (TimedOut("x"), 3, "retry", None),
        (TimedOut("x"), 4, "failed", "timeout"),
        (KeyError("x"), 3, "retry", None),
        (KeyError("x"), 4, "failed", "exhausted"),
        (Died("x"), 4, "died", None),
        (Unreachable("x", retry_after=SECOND), 4, "snoozed", None),
    ],
)
def test_what_an_error_means_for_its_row(
    error: Exception, attempts: int, outcome: str, failure: str | None
) -> None:
    settlement = leases.after_error(lease(attempts=attempts), error)

    assert (settlement.outcome, settlement.failure) == (outcome, failure)
    assert settlement.failure is None or settlement.failure in FAILURES
    assert settlement.status == ("failed" if failure else "ready")


@pytest.mark.parametrize(
    ("attempts", "rewinds", "failure"),
    [(1, 0, None), (1, 2, None), (1, 3, "exhausted"), (3, 0, None), (4, 0, "exhausted")],
)
def test_a_rewind_exhausts_a_row_by_its_attempts_and_by_its_rewinds(
    attempts: int, rewinds: int, failure: str | None
) -> None:
    settlement = leases.rewound(lease(attempts=attempts, rewinds=rewinds), "gone")

    assert (settlement.failure, settlement.error) == (failure, "gone")
    assert settlement.restart is (failure is None)


@pytest.mark.parametrize(
    ("stalls", "outcome", "failure", "after"),
    [(0, "died", None, 1), (1, "died", None, 2), (2, "failed", "poison", 0)],
)
def test_a_death_hands_the_attempt_back_and_the_third_alone_is_poison(
    stalls: int, outcome: str, failure: str | None, after: int
) -> None:
    settlement = leases.after_error(lease(attempts=2, stalls=stalls), Died("SIGSEGV"))

    assert (settlement.outcome, settlement.failure, settlement.stalls) == (outcome, failure, after)
    assert settlement.attempts == (1 if outcome == "died" else 2)


def test_what_is_known_to_be_down_costs_no_attempt_and_is_not_tried_before_its_time() -> None:
    wait = timedelta(minutes=3)
    settlement = leases.after_error(lease(attempts=4), Unreachable("down", retry_after=wait))

    assert (settlement.attempts, settlement.delay, settlement.error) == (3, wait, "down")


def test_an_unknown_error_is_shown_by_its_type_and_text() -> None:
    assert leases.after_error(lease(), KeyError("name")).error == "KeyError: 'name'"


def test_a_database_error_shows_neither_its_statement_nor_its_parameters() -> None:
    from sqlalchemy.exc import ProgrammingError

    error = ProgrammingError("SELECT secret", {"token": "hunter2"}, ValueError("no such column"))
    shown = leases.after_error(lease(), error).error

    assert shown is not None
    assert "hunter2" not in shown
    assert "SELECT" not in shown
