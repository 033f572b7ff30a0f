"""The Mann-Kendall test: values worked out by hand, all pairs counted, and its error rate."""

import math

import numpy as np
import pytest

from backend.workloads.tasks.ari.mann_kendall import mann_kendall, variance_of_s
from backend.workloads.tasks.ari.series import Floats


def of(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def counted(values: Floats) -> int:
    """S by looking at every pair."""
    return sum(
        int(np.sign(later - earlier))
        for place, earlier in enumerate(values)
        for later in values[place + 1 :]
    )


def test_four_values_without_ties() -> None:
    # Six pairs, one of them falls: 5 - 1. Variance 4 * 3 * 13 / 18.
    found = mann_kendall(of(1, 3, 2, 4))
    assert found.s == 4
    assert found.variance == pytest.approx(156 / 18)
    assert found.z == pytest.approx(3 / math.sqrt(156 / 18))
    assert found.p_value == pytest.approx(0.30818, abs=1e-5)
    assert found.tau == pytest.approx(4 / 6)


def test_a_tie_takes_its_term_from_the_variance() -> None:
    # Five pairs rise, one is tied: (156 - 2 * 1 * 9) / 18.
    found = mann_kendall(of(1, 2, 2, 3))
    assert found.s == 5
    assert found.variance == pytest.approx(138 / 18)
    assert found.z == pytest.approx(4 / math.sqrt(138 / 18))
    assert found.tau == pytest.approx(5 / math.sqrt(6 * 5))


def test_ten_rising_values() -> None:
    found = mann_kendall(np.arange(10.0))
    assert (found.s, found.variance) == (45, 125.0)
    assert found.z == pytest.approx(44 / math.sqrt(125))
    assert found.p_value == pytest.approx(8.303e-5, rel=1e-3)


def test_equal_values_have_no_trend() -> None:
    found = mann_kendall(of(7, 7, 7))
    assert (found.s, found.variance, found.z, found.p_value, found.tau) == (0, 0, 0, 1, None)


def test_two_values_say_nothing() -> None:
    found = mann_kendall(of(1, 100))
    assert (found.s, found.z, found.p_value) == (1, 0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_s_is_what_counting_every_pair_gives(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, draw.integers(2, 30), size=60).astype(np.float64)
    assert mann_kendall(values).s == counted(values)


def test_s_is_exact_of_many_values() -> None:
    # 0, 2, 1, 4, 3, ...: after the first, each neighbour pair falls, all other pairs rise.
    n = 100_001
    values = np.arange(n, dtype=np.float64)
    values[1::2], values[2::2] = values[2::2].copy(), values[1::2].copy()
    assert mann_kendall(values).s == n * (n - 1) // 2 - 2 * (n // 2)


@pytest.mark.parametrize("change", [lambda v: v + 1000, lambda v: v * 8, np.exp])
def test_only_the_order_of_the_values_matters(change: np.ufunc) -> None:
    values = np.random.default_rng(3).normal(size=40)
    assert mann_kendall(change(values)) == mann_kendall(values)


def test_the_way_back_is_the_opposite() -> None:
    values = np.random.default_rng(4).integers(0, 9, size=40).astype(np.float64)
    there, back = mann_kendall(values), mann_kendall(values[::-1])
    assert (back.s, back.z, back.p_value) == (-there.s, -there.z, there.p_value)


def test_noise_is_called_a_trend_one_time_in_twenty() -> None:
    draw = np.random.default_rng(5)
    rejected = sum(mann_kendall(draw.normal(size=25)).p_value < 0.05 for _ in range(400))
    assert 9 <= rejected <= 31  # 20, and two and a half standard deviations


def test_the_variance_is_that_of_shuffled_values() -> None:
    draw = np.random.default_rng(6)
    values = np.repeat(np.arange(6.0), [1, 2, 3, 4, 1, 2])
    seen = [mann_kendall(draw.permutation(values)).s for _ in range(400)]
    assert float(np.var(seen)) == pytest.approx(variance_of_s(values), rel=0.18)
