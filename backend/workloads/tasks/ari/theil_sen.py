"""The Theil-Sen line: the median of all slopes between two points (Theil 1950, Sen 1968)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backend.workloads.tasks.ari.series import Floats

CONFIDENCE: Final = 0.95
MAX_POINTS: Final = 2_000
"""There are n²/2 slopes: of so many points two million."""
SEED: Final = 1968
FEWEST_BOUNDED: Final = 6
"""Of fewer points, none tied, Sen's ranks lie beyond the slopes; ties must not make one surer."""


@dataclass(frozen=True, slots=True)
class Line:
    """``value = intercept + slope * days``, fitted to so many ``points``.

    ``low`` and ``high`` bound the slope's confidence interval, None where the points are too few
    for one.
    """

    slope: float
    intercept: float
    low: float | None
    high: float | None
    points: int

    def at(self, days: Floats) -> Floats:
        return self.intercept + self.slope * days


def theil_sen(days: Floats, values: Floats) -> Line:
    """Of at least two points at different times, ascending."""
    if values.size > MAX_POINTS:
        kept = thinned(values.size)
        days, values = days[kept], values[kept]
    fit = stats.theilslopes(values, days, alpha=CONFIDENCE, method="separate")
    bounded = values.size >= FEWEST_BOUNDED
    return Line(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        low=float(fit.low_slope) if bounded else None,
        high=float(fit.high_slope) if bounded else None,
        points=values.size,
    )


def thinned(n: int) -> NDArray[np.int64]:
    """Which of ``n`` points are kept: one of each of 2,000 equal stretches, always the same.

    Drawn, not the middle one: of hourly values with a daily cycle the middle ones may all be of one
    hour.
    """
    edges = np.arange(MAX_POINTS + 1) * n // MAX_POINTS
    return np.random.default_rng(SEED).integers(edges[:-1], edges[1:])
