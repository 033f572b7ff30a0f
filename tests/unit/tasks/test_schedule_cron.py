"""When a cron expression is due, above all where the clock is put forward or back."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.problems import Malformed
from backend.workloads.tasks.schedules.cron import Cron

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 5, 5, tzinfo=UTC)
CHANGES = {
    "Europe/Berlin": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "America/New_York": (
        datetime(2026, 3, 8, 7, tzinfo=UTC),
        datetime(2026, 11, 1, 6, tzinfo=UTC),
    ),
    # By half an hour; and at midnight.
    "Australia/Lord_Howe": (
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
    ),
    "America/Santiago": (
        datetime(2026, 9, 6, 4, tzinfo=UTC),
        datetime(2026, 4, 5, 3, tzinfo=UTC),
    ),
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def due(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    return list(takewhile(lambda it: it < end, Cron(expression, zone).after(start)))


def local(expression: str, zone: str, start: str, count: int) -> list[str]:
    """The next times as that clock shows them: day, time and offset."""
    found = Cron(expression, zone).upcoming(moment(start), count)
    return [f"{it.astimezone(ZoneInfo(zone)):%d %H:%M %z}" for it in found]


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE


def test_a_time_of_day_that_is_left_out_is_due_when_the_clock_has_been_put_forward() -> None:
    assert local("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00Z", 3) == [
        "28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"
    ]  # fmt: skip


def test_two_times_of_day_that_are_left_out_are_one() -> None:
    assert local("0,30 2 * * *", "Europe/Berlin", "2026-03-29T00:00Z", 3) == [
        "29 03:00 +0200", "30 02:00 +0200", "30 02:30 +0200"
    ]  # fmt: skip


def test_a_time_of_day_that_comes_twice_is_due_the_first_time_alone() -> None:
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2) == [
        "25 02:30 +0200", "26 02:30 +0100"
    ]  # fmt: skip
    again = local("45 2 * * *", "Europe/Berlin", "2026-10-25T01:10Z", 1)
    assert again == ["26 02:45 +0100"]  # it was 02:10 for the second time


def test_what_repeats_does_so_also_in_the_hour_that_comes_twice() -> None:
    assert local("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30Z", 6) == [
        "25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100",
        "25 03:00 +0100", "25 03:30 +0100",
    ]  # fmt: skip


def test_a_clock_that_is_put_back_by_half_an_hour() -> None:
    assert local("15,45 1 * * *", "Australia/Lord_Howe", "2026-04-04T13:30Z", 3) == [
        "05 01:15 +1100", "05 01:45 +1100", "06 01:15 +1030"
    ]  # fmt: skip
    assert local("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:40Z", 3) == [
        "05 01:45 +1100", "05 01:30 +1030", "05 01:45 +1030"
    ]  # fmt: skip


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(
    "expression", ["*/20 * * * *", "10 * * * *", "0 */3 * * *", "*/7 1-4 * * *"]
)
def test_what_repeats_is_due_at_every_minute_that_the_clock_shows(
    zone: str, expression: str
) -> None:
    fields = CronSim(expression, datetime(2026, 1, 1))  # noqa: DTZ001 - a wall clock's time
    for change in CHANGES[zone]:
        start, end = change - timedelta(hours=7), change + timedelta(hours=20)
        shown = [(it, it.astimezone(ZoneInfo(zone))) for it in minutes(start + MINUTE, end)]
        expected = [
            it for it, wall in shown if wall.minute in fields.minutes and wall.hour in fields.hours
        ]
        assert due(expression, zone, start, end) == expected


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("expression", ["30 2 * * *", "15 0 * * *", "45 1 * * *", "0 3 * * *"])
def test_a_time_of_day_is_due_once_a_day(zone: str, expression: str) -> None:
    for change in CHANGES[zone]:
        found = due(expression, zone, change - timedelta(days=4), change + timedelta(days=4))
        days = [it.astimezone(ZoneInfo(zone)).date() for it in found]
        around = [(change + timedelta(days=number)).date() for number in range(-2, 3)]
        assert [days.count(day) for day in around] == [1] * 5


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/20 * * * *", "5,35 0-3 * * *"])
def test_the_times_are_the_same_wherever_one_begins(zone: str, expression: str) -> None:
    for change in CHANGES[zone]:
        start, end = change - timedelta(hours=4), change + timedelta(hours=4)
        every = due(expression, zone, start, end + timedelta(days=2))
        for it in islice(minutes(start, end), 0, None, 7):
            beginning = it + timedelta(seconds=29, microseconds=1)
            expected = next(time for time in every if time > beginning)
            assert Cron(expression, zone).upcoming(beginning, 1) == [expected]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "15 6 1 * *", "0 12 * * 1-5"])
def test_where_clocks_change_by_hours_the_library_says_the_same(zone: str, expression: str) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    told = CronSim(expression, start.astimezone(ZoneInfo(zone)))
    expected = {it.astimezone(UTC) for it in takewhile(lambda it: it < end, told)}
    assert due(expression, zone, start, end) == sorted(expected)


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 29 2 *", "2028-02-29T00:00Z"),
        ("0 9 L * *", "2026-05-31T09:00Z"),
        ("0 9 * * MON#1", "2026-06-01T09:00Z"),
        ("0 9 * jul *", "2026-07-01T09:00Z"),
        ("0 0 13 * FRI", "2026-05-08T00:00Z"),  # either of them, as cron has it
        ("  5   4  *  *  7 ", "2026-05-10T04:05Z"),
    ],
)
def test_what_an_expression_means(expression: str, first: str) -> None:
    cron = Cron.checked(expression, "UTC", now=NOW)
    assert cron.upcoming(NOW, 1) == [moment(first)]
    assert cron.expression == " ".join(expression.split())


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "60 * * * *", "a b c d e", "*/0 * * * *", "0 0 30 2 *",
     "0 0 1-0 * *", "@daily", "1#2 * * * *", "* * * * " + "1," * 50 + "1"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(Malformed) as refused:
        Cron.checked(expression, "UTC", now=NOW)
    assert refused.value.code == "invalid-cron"


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "localtime", "\ud800"],
)
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Malformed) as refused:
        Cron.checked("* * * * *", zone, now=NOW)
    assert refused.value.code == "unknown-timezone"
    assert refused.value.detail.isprintable()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("0123456789*/-,#LW MONsunJAN", max_size=12), min_size=5, max_size=5))
def test_whatever_it_is_it_is_due_later_or_refused(fields: list[str]) -> None:
    with suppress(Malformed):
        cron = Cron.checked(" ".join(fields), "Europe/Berlin", now=NOW)
        assert cron.upcoming(NOW, 1)[0] > NOW
