"""Trends: direction, change and its base, alerts, caveats."""

import math
from typing import Any

import numpy as np
import pytest

from backend.workloads.tasks.ari import trends
from backend.workloads.tasks.ari.theil_sen import MAX_POINTS

SINCE = "2026-03-01T00:00:00+00:00"
DAY = 86_400_000_000


def asked(threshold: float = 10.0, **values: list[float]) -> dict[str, Any]:
    """Of each metric one value a day."""
    series = [
        {"user_id": 7, "metric": metric, "values": these,
         "times": [day * DAY for day in range(len(these))]}
        for metric, these in values.items()
    ]  # fmt: skip
    data = {"since": SINCE, "until": "2026-03-31T00:00:00+00:00", "series": series}
    return {"user_id": 7, "parameters": {"threshold_percent": threshold}, "data": data}


def of(*values: float) -> dict[str, Any]:
    return trends.trend(np.arange(len(values), dtype=float), np.array(values, dtype=float))


def rising(by: float, *, start: float = 100.0, days: int = 21) -> list[float]:
    """A straight line that rises ``by`` in all."""
    return [start + by * day / (days - 1) for day in range(days)]


def test_a_straight_line_by_hand() -> None:
    found = of(*rising(-15))
    assert found["slope_per_day"] == pytest.approx(-0.75)
    assert (found["slope_low"], found["slope_high"]) == (pytest.approx(-0.75), pytest.approx(-0.75))
    assert (found["s"], found["direction"], found["significant"]) == (-210, "decreasing", True)
    assert (found["start"], found["end"]) == (pytest.approx(100), pytest.approx(85))
    assert found["change_percent"] == pytest.approx(-15)
    assert (found["autocorrelation"], found["caveats"]) == (None, [])


def test_the_change_is_the_lines_not_that_of_the_ends() -> None:
    values = rising(10)
    values[0], values[-1] = 500.0, 1.0
    assert of(*values)["change_percent"] == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(
    ("by", "threshold", "level"),
    [(9, 10, None), (11, 10, "warning"), (-11, 10, "warning"), (19, 10, "warning"),
     (21, 10, "critical"), (-21, 10, "critical"), (21, 25, None), (30, 25, "critical"),
     (9.9999, 10, None), (19.9999, 10, "warning")],
)  # fmt: skip
def test_levels(by: float, threshold: float, level: str | None) -> None:
    found = trends.analyze(asked(threshold, focus=rising(by)))["alerts"]
    assert [alert["level"] for alert in found] == ([level] if level else [])


@pytest.mark.parametrize("start", [0.3, 0.7, 3.0, 33.3, 80.0])
@pytest.mark.parametrize("days", [2, 5, 11, 21, 31])
def test_a_change_of_just_the_limit_counts_whatever_rounding_made_of_it(
    start: float, days: int
) -> None:
    for share in (0.1, -0.1, 0.2, -0.2):
        values = rising(share * start, start=start, days=days)
        (alert,) = trends.analyze(asked(10, focus=values))["alerts"]
        assert alert["level"] == ("warning" if abs(share) < 0.2 else "critical")


def test_alerts_begin_with_the_largest_change_and_say_it_in_words() -> None:
    found = trends.analyze(asked(a=rising(12), b=rising(-40), c=rising(1)))["alerts"]
    assert [alert["message"] for alert in found] == ["b fell by 40.0 %", "a rose by 12.0 %"]


def test_two_points_are_enough_for_a_line_and_for_no_certainty() -> None:
    found = trends.analyze(asked(focus=[100, 70]))
    (metric,), (alert,) = found["metrics"], found["alerts"]
    assert metric["trend"]["change_percent"] == pytest.approx(-30)
    assert (metric["trend"]["direction"], metric["trend"]["p_value"]) == ("uncertain", 1)
    assert metric["trend"]["slope_low"] is metric["trend"]["slope_high"] is None
    assert metric["trend"]["caveats"] == [trends.FEW_POINTS, trends.NO_INTERVAL]
    assert (alert["level"], alert["significant"]) == ("critical", False)
    assert alert["message"] == "focus fell by 30.0 %, which may be chance"


def test_one_point_is_not_enough() -> None:
    found = trends.analyze(asked(focus=[100.0], calm=rising(1)))
    focus, calm = found["metrics"]
    assert (focus["status"], focus["trend"], focus["count"]) == ("insufficient_data", None, 1)
    assert (calm["status"], found["status"], found["snapshots"]) == ("ok", "ok", 22)
    assert trends.analyze(asked(focus=[100.0]))["status"] == "insufficient_data"
    assert trends.analyze(asked())["status"] == "insufficient_data"


def test_equal_values_are_flat() -> None:
    found = of(*[4.2] * 12)
    assert (found["direction"], found["change_percent"], found["p_value"]) == ("flat", 0, 1)
    assert found["caveats"] == []


def test_noise_is_uncertain() -> None:
    found = of(*np.random.default_rng(1).normal(100, 1, 30))
    assert (found["direction"], found["significant"]) == ("uncertain", False)
    assert abs(found["change_percent"]) < 3


@pytest.mark.parametrize(
    "values",
    [rising(20, start=0.0), rising(20, start=-1.0), rising(-20, start=1.0), [0.0] * 12],
    ids=["from zero", "over zero", "below zero", "nothing but zero"],
)
def test_where_there_is_no_base_there_is_no_percentage(values: list[float]) -> None:
    found = trends.analyze(asked(1, focus=values))
    (metric,) = found["metrics"]
    assert metric["trend"]["change_percent"] is None
    assert metric["trend"]["caveats"] == [trends.NO_BASE]
    assert found["alerts"] == []


def test_a_negative_base_counts_by_its_magnitude() -> None:
    found = of(*rising(20, start=-80.0))
    assert found["change_percent"] == pytest.approx(25)
    assert found["direction"] == "increasing"
    assert found["caveats"] == [trends.OF_MAGNITUDE]


def test_alike_neighbours_are_pointed_out() -> None:
    wave = [100 + day / 10 + 5 * math.sin(day / 5) for day in range(60)]
    found = of(*wave)
    assert found["autocorrelation"] > 0.8
    (caveat,) = found["caveats"]
    assert caveat.startswith("neighbouring snapshots are alike (lag-1 autocorrelation 0.")


def test_neighbours_by_hand() -> None:
    # The line is flat at 0: residuals 1, -1, 1, -1, ...: -11 over 12.
    assert of(*[1, -1] * 6)["autocorrelation"] == pytest.approx(-11 / 12, abs=0.05)


def test_a_line_through_a_part_says_so_and_the_test_counts_all() -> None:
    count = MAX_POINTS + 500
    found = of(*rising(50, days=count))
    assert (found["points"], found["s"]) == (MAX_POINTS, count * (count - 1) // 2)
    assert found["caveats"] == [trends.THINNED.format(points=MAX_POINTS, count=count)]
    assert found["change_percent"] == pytest.approx(50)


def test_scaling_the_values_changes_no_percentage() -> None:
    values = np.random.default_rng(2).normal(100, 5, 25)
    plain, scaled = of(*values), of(*(values * 1e-200))
    for name in ("change_percent", "p_value", "s", "tau", "direction"):
        assert scaled[name] == pytest.approx(plain[name])


def test_huge_values_give_no_infinite_figure() -> None:
    found = of(*[1.7e308, -1.7e308] * 6)
    figures = [value for value in found.values() if isinstance(value, float)]
    assert all(map(math.isfinite, figures))
    steep = trends.trend(np.array([0, 1e-11]), np.array([-1.7e308, 1.7e308]))
    assert steep["slope_per_day"] is None
