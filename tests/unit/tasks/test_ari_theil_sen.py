"""The Theil-Sen line: by hand, against all slopes, its robustness and its interval's coverage."""

import itertools
import statistics

import numpy as np
import pytest

from backend.workloads.tasks.ari.series import Floats
from backend.workloads.tasks.ari.theil_sen import MAX_POINTS, theil_sen, thinned


def of(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def test_three_points() -> None:
    # Slopes 2, 1 and 1/2; the medians are 1 day and 3.
    line = theil_sen(of(0, 1, 3), of(1, 3, 4))
    assert (line.slope, line.intercept, line.points) == (1.0, 2.0, 3)
    assert list(line.at(of(0, 3))) == [2.0, 5.0]


def test_it_is_the_median_of_all_slopes() -> None:
    draw = np.random.default_rng(1)
    days, values = np.sort(draw.uniform(0, 30, 31)), draw.normal(size=31)
    slopes = [
        (values[b] - values[a]) / (days[b] - days[a])
        for a, b in itertools.combinations(range(31), 2)
    ]
    line = theil_sen(days, values)
    assert line.slope == pytest.approx(statistics.median(slopes))
    assert line.intercept == pytest.approx(
        statistics.median(values) - line.slope * statistics.median(days)
    )


def test_the_interval_is_sens_by_rank() -> None:
    # Ten points: 45 slopes, sd of S sqrt(125), so that the 12th and the 34th bound it.
    draw = np.random.default_rng(2)
    days, values = np.arange(10.0), draw.normal(size=10)
    slopes = sorted(
        (values[b] - values[a]) / (b - a) for a, b in itertools.combinations(range(10), 2)
    )
    line = theil_sen(days, values)
    assert line.low == pytest.approx(slopes[11])
    assert line.high == pytest.approx(slopes[33])


@pytest.mark.parametrize(("points", "bounded"), [(2, False), (5, False), (6, True)])
def test_too_few_points_have_no_interval(points: int, bounded: bool) -> None:
    line = theil_sen(np.arange(points, dtype=float), np.arange(points, dtype=float) ** 2)
    assert (line.low is not None, line.high is not None) == (bounded, bounded)


def test_three_equal_values_are_no_certainty() -> None:
    line = theil_sen(of(0, 1, 2), of(4, 4, 4))
    assert (line.slope, line.low, line.high) == (0, None, None)


def test_a_quarter_of_wild_values_moves_it_little() -> None:
    days = np.arange(100.0)
    values = 2 * days + 1
    values[::4] = np.random.default_rng(3).uniform(-1e6, 1e6, 25)
    assert theil_sen(days, values).slope == pytest.approx(2)


def test_shift_and_scale() -> None:
    draw = np.random.default_rng(4)
    days, values = np.sort(draw.uniform(0, 9, 40)), draw.normal(size=40)
    line, moved = theil_sen(days, values), theil_sen(days, -8 * values + 100)
    assert moved.slope == pytest.approx(-8 * line.slope)
    assert moved.intercept == pytest.approx(-8 * line.intercept + 100)
    assert moved.low == pytest.approx(-8 * (line.high or 0))
    assert moved.high == pytest.approx(-8 * (line.low or 0))


def test_the_interval_holds_the_slope_nineteen_times_in_twenty() -> None:
    draw = np.random.default_rng(5)
    days, held = np.arange(20.0), 0
    for _ in range(200):
        line = theil_sen(days, 0.3 * days + draw.standard_t(3, size=20))
        assert line.low is not None
        assert line.high is not None
        held += line.low <= 0.3 <= line.high
    assert 182 <= held <= 198  # 190, and two and a half standard deviations


def test_of_many_points_one_of_each_stretch_is_taken_and_always_the_same() -> None:
    n = 7 * MAX_POINTS + 3
    kept = thinned(n)
    assert kept.size == np.unique(kept).size == MAX_POINTS
    assert 0 <= kept[0] < kept[-1] < n
    assert np.all(np.diff(kept) > 0)
    assert np.array_equal(kept, thinned(n))
    days = np.arange(n) / 24
    line = theil_sen(days, 0.5 * days + np.sin(2 * np.pi * days))
    assert line.points == MAX_POINTS
    assert line.slope == pytest.approx(0.5, rel=1e-3)


def test_thinning_begins_only_above_the_limit() -> None:
    days = np.arange(MAX_POINTS + 1.0)
    assert theil_sen(days[:-1], days[:-1]).points == MAX_POINTS
    assert theil_sen(days, days).points == MAX_POINTS
    assert thinned(MAX_POINTS + 1).size == np.unique(thinned(MAX_POINTS + 1)).size
