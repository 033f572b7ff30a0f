"""Figures of a metric: by hand, and what must not change them."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from backend.workloads.tasks.ari import aggregation
from backend.workloads.tasks.ari.aggregation import aggregate, average, figures
from backend.workloads.tasks.ari.series import DAY, Series, scale_of

SINCE = datetime(2026, 3, 1, tzinfo=UTC)


def series(
    values: list[float], days: list[float] | None = None, *, user_id: int = 1, metric: str = "focus"
) -> Series:
    times = [int(day * DAY) for day in days or range(len(values))]
    entry = {"user_id": user_id, "metric": metric, "times": times, "values": values}
    return Series.of(entry)


def asked(user_id: int | None, *entries: tuple[int, str, list[float]]) -> dict[str, Any]:
    found = [
        {"user_id": user, "metric": metric, "times": list(range(len(values))), "values": values}
        for user, metric, values in entries
    ]
    window = {"since": SINCE.isoformat(), "until": (SINCE + timedelta(days=1)).isoformat()}
    return {"user_id": user_id, "parameters": {}, "data": {**window, "series": found}}


def test_five_values_by_hand() -> None:
    found = figures([series([10, 40, 20, 50, 30], [0, 1, 2, 3, 4])], SINCE)
    assert (found["count"], found["average"]) == (5, 30)
    assert (found["minimum"], found["maximum"]) == (10, 50)
    # Ranks 2, 3.6, 3.8 and 3.96 of 0 to 4, between the values in order.
    assert found["percentiles"] == pytest.approx({"p50": 30, "p90": 46, "p95": 48, "p99": 49.6})
    # Sum of products of deviations 40 + -10 + 0 + 20 + 0 over that of squares 10.
    assert found["slope_per_day"] == pytest.approx(5)
    assert found["latest"] == {
        "value": 30, "taken_at": (SINCE + timedelta(days=4)).isoformat(), "user_id": 1,
    }  # fmt: skip


def test_one_value_has_every_figure_but_a_slope() -> None:
    found = figures([series([7.25])], SINCE)
    assert found["percentiles"] == dict.fromkeys(("p50", "p90", "p95", "p99"), 7.25)
    assert (found["average"], found["slope_per_day"]) == (7.25, None)


def test_users_who_differ_in_level_make_no_trend() -> None:
    # Each falls by 1 a day; the second, later and higher, would turn the line upwards.
    first, second = series([5, 4, 3], [0, 1, 2]), series([105, 104], [8, 9], user_id=2)
    found = figures([first, second], SINCE)
    assert (found["users"], found["count"]) == (2, 5)
    assert found["slope_per_day"] == pytest.approx(-1)
    assert found["latest"]["user_id"] == 2


def test_of_two_latest_at_one_moment_the_highest_user_number_counts() -> None:
    pair = [series([1, 2], user_id=8), series([3, 4], user_id=9)]
    assert figures(pair, SINCE)["latest"] == figures(pair[::-1], SINCE)["latest"]
    assert figures(pair, SINCE)["latest"]["value"] == 4


def test_the_order_of_values_changes_neither_average_nor_percentiles() -> None:
    values = [0.1, 1e16, -1e16, 3.3, 7.0]
    seen = {
        (found["average"], *found["percentiles"].values())
        for order in itertools.permutations(values)
        if (found := figures([series(list(order))], SINCE))
    }
    assert len(seen) == 1
    assert average(np.array(values)) == pytest.approx(10.4 / 5, rel=1e-12)


def test_shift_and_scale() -> None:
    values = np.random.default_rng(1).normal(size=50)
    plain = figures([series(values.tolist())], SINCE)
    moved = figures([series((4 * values + 100).tolist())], SINCE)
    assert moved["slope_per_day"] == pytest.approx(4 * plain["slope_per_day"])
    for name in ("average", "minimum", "maximum"):
        assert moved[name] == pytest.approx(4 * plain[name] + 100)
    for name, value in plain["percentiles"].items():
        assert moved["percentiles"][name] == pytest.approx(4 * value + 100)


def test_a_shift_in_time_changes_no_slope() -> None:
    days = [0.0, 0.5, 3.0, 4.25]
    late = [day + 3000 for day in days]
    slope = figures([series([1, 5, 2, 8], days)], SINCE)["slope_per_day"]
    assert figures([series([1, 5, 2, 8], late)], SINCE)["slope_per_day"] == pytest.approx(slope)


def test_the_average_never_leaves_the_values_range() -> None:
    for value in (0.1, 1 / 3, 1e-310, 1.7e308):
        assert average(np.full(7, value)) == value


def test_huge_values_do_not_overflow() -> None:
    found = figures([series([1.7e308, -1.7e308, 1.7e308])], SINCE)
    assert found["average"] == pytest.approx(1.7e308 / 3)
    assert found["percentiles"]["p50"] == pytest.approx(1.7e308)
    steep = figures([series([-1.7e308, 1.7e308], [0, 1e-6])], SINCE)
    assert steep["slope_per_day"] is None


@pytest.mark.parametrize("most", [5e-324, 0.3, 1.0, 12345.6, 1.7976931348623157e308, 0.0])
def test_scaling_is_exact(most: float) -> None:
    values = np.array([most, -most / 4])
    scaled = values / scale_of(values)
    assert np.max(np.abs(scaled)) < 2
    assert list(scaled * scale_of(values)) == list(values)


def test_of_nothing_nothing_is_said() -> None:
    found = aggregate(asked(1))
    assert found["status"] == "insufficient_data"
    assert (found["snapshots"], found["users"], found["metrics"]) == (0, 0, [])


def test_of_everybody_each_user_is_listed_too() -> None:
    found = aggregate(asked(None, (1, "calm", [1, 2]), (1, "focus", [5]), (2, "focus", [7, 9])))
    assert (found["snapshots"], found["users"], found["not_listed"]) == (5, 2, 0)
    assert [(m["metric"], m["users"], m["count"]) for m in found["metrics"]] == [
        ("calm", 1, 2), ("focus", 2, 3),
    ]  # fmt: skip
    assert [(m["user_id"], m["metric"], m["average"]) for m in found["by_user"]] == [
        (1, "calm", 1.5), (1, "focus", 5), (2, "focus", 8),
    ]  # fmt: skip


def test_of_one_user_nobody_is_listed() -> None:
    found = aggregate(asked(1, (1, "calm", [1, 2])))
    assert (found["by_user"], found["not_listed"]) == ([], 0)


def test_what_is_not_listed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "MAX_LISTED", 4)
    found = aggregate(asked(None, *((user, "focus", [1.0]) for user in range(7))))
    assert (len(found["by_user"]), found["not_listed"]) == (4, 3)
    assert found["metrics"][0]["count"] == 7
