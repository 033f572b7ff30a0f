"""Weeks of the history: pure dates."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.queue.retention import Week, is_partition

moments = st.datetimes(
    datetime(1970, 1, 5), datetime(2200, 1, 1),  # noqa: DTZ001 - aware by the next line
    timezones=st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours))),
)  # fmt: skip


@given(moments)
def test_each_moment_lies_in_one_week_that_begins_on_a_monday_in_utc(moment: datetime) -> None:
    week = Week.of(moment)

    assert week.begins <= moment < week.ends
    assert (week.begins.isoweekday(), week.begins.utcoffset()) == (1, timedelta(0))
    assert Week.of(week.begins) == week
    assert Week.of(week.ends).begins == week.ends


@given(moments)
def test_a_partitions_name_says_its_week(moment: datetime) -> None:
    week = Week.of(moment)

    assert is_partition(week.partition)
    assert Week.named(week.partition) == week


@pytest.mark.parametrize(
    ("day", "partition"),
    [
        (datetime(2026, 12, 31, tzinfo=UTC), "attempts_2026_w53"),
        (datetime(2027, 1, 3, 23, 59, tzinfo=UTC), "attempts_2026_w53"),
        (datetime(2027, 1, 4, tzinfo=UTC), "attempts_2027_w01"),
        (datetime(2024, 12, 30, tzinfo=UTC), "attempts_2025_w01"),
    ],
)
def test_the_year_of_a_week_is_that_of_its_thursday(day: datetime, partition: str) -> None:
    assert Week.of(day).partition == partition


@pytest.mark.parametrize(
    "table", ["attempts_default", "attempts_2026_w54", "attempts_2026_w00", "attempts_kept", "x"]
)
def test_a_table_that_names_no_week_is_never_dropped_for_its_age(table: str) -> None:
    assert Week.named(table) is None
