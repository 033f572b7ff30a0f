"""The Mann-Kendall test for a monotonic trend (Mann 1945, Kendall 1975)."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backend.workloads.tasks.ari.series import Floats


@dataclass(frozen=True, slots=True)
class MannKendall:
    """What the test says of values in the order of time.

    ``s`` counts the pairs that rise less those that fall; ``variance`` is that of ``s`` where there
    is no trend, ``tau`` is Kendall's tau-b, None where all values are alike.
    """

    s: int
    variance: float
    z: float
    p_value: float
    tau: float | None


def mann_kendall(values: Floats) -> MannKendall:
    """Of at least two values, taken at different moments; the p-value is two-sided.

    S is normal by approximation, with a continuity correction of one.
    """
    variance = variance_of_s(values)
    if not variance:
        return MannKendall(s=0, variance=0.0, z=0.0, p_value=1.0, tau=None)
    s, tau = _s_and_tau(values)
    z = (s - np.sign(s)) / math.sqrt(variance)
    p_value = math.erfc(abs(z) / math.sqrt(2))
    return MannKendall(s=s, variance=variance, z=float(z), p_value=p_value, tau=tau)


def variance_of_s(values: Floats) -> float:
    """With the correction for ties: groups of t equal values; 0 where all are equal."""
    _, ties = np.unique_counts(values)
    return (_term(values.size) - sum(_term(int(t)) for t in ties)) / 18


def _term(n: int) -> int:
    return n * (n - 1) * (2 * n + 5)


def _s_and_tau(values: Floats) -> tuple[int, float]:
    """SciPy counts the pairs in n log n, and divides the count by its largest possible size."""
    n = values.size
    tau = float(stats.kendalltau(np.arange(n), values).statistic)
    _, ties = np.unique_counts(values)
    untied = math.comb(n, 2) - sum(math.comb(int(t), 2) for t in ties)
    return round(tau * math.sqrt(math.comb(n, 2)) * math.sqrt(untied)), tau
