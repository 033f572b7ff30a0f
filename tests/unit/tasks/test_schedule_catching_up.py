"""What becomes of a schedule's times that are past."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from backend.workloads.tasks.schedules.catching_up import AT_ONCE, turn

START = datetime(2026, 5, 5, 12, tzinfo=UTC)


def times(number: int, apart: timedelta = timedelta(hours=1)) -> list[datetime]:
    return [START + it * apart for it in range(number)]


@pytest.mark.parametrize("catch_up", ["one", "all", "none"])
def test_a_time_that_has_just_come_fires(catch_up: str) -> None:
    due, later = times(2)
    found = turn([due, later], due + timedelta(seconds=4), catch_up, known=())
    assert (found.fired, found.skipped, found.following, found.more) == ([due], [], later, False)


@pytest.mark.parametrize(
    ("catch_up", "late", "fired"),
    [("one", 50, [3]), ("all", 50, [0, 1, 2, 3]), ("none", 50, []), ("none", 5, [3])],
)
def test_after_an_outage(catch_up: str, late: int, fired: list[int]) -> None:
    due = times(5)
    found = turn(due, due[3] + timedelta(minutes=late), catch_up, known=())
    assert found.fired == [due[it] for it in fired]
    assert sorted([*found.fired, *found.skipped]) == due[:4]
    assert (found.following, found.more) == (due[4], False)


def test_of_more_than_a_turn_takes_none_is_the_last() -> None:
    due = times(AT_ONCE + 1, timedelta(minutes=1))
    found = turn(due, due[-1] + timedelta(days=1), "one", known=())
    assert (found.fired, found.skipped) == ([], due[:AT_ONCE])
    assert (found.following, found.more) == (due[AT_ONCE], True)
    assert turn(due, due[-1] + timedelta(days=1), "all", known=()).fired == due[:AT_ONCE]


def test_a_turn_that_takes_exactly_all_fires_the_last() -> None:
    due = times(AT_ONCE + 1, timedelta(minutes=1))
    found = turn(due, due[AT_ONCE - 1], "one", known=())
    assert (found.fired, found.more) == (due[AT_ONCE - 1 : AT_ONCE], False)


def test_what_is_older_than_a_week_is_not_made_up() -> None:
    due = times(11, timedelta(days=1))
    found = turn(due, due[9] + timedelta(hours=1), "all", known=())
    assert (found.fired, found.skipped) == (due[3:10], due[:3])


def test_what_was_dealt_with_before_is_passed_over() -> None:
    due = times(4)
    found = turn(due, due[2], "all", known={due[0], due[2]})
    assert (found.fired, found.skipped, found.following) == ([due[1]], [], due[3])


def test_no_more_times_are_asked_for_than_are_needed() -> None:
    endless = (START + number * timedelta(hours=1) for number in count())
    assert len(turn(endless, START + timedelta(hours=2), "all", known=()).fired) == 3
    assert next(endless) == START + timedelta(hours=4)


def test_a_schedule_may_come_to_its_end() -> None:
    (due,) = times(1)
    assert turn([due], due, "one", known=()).following is None
