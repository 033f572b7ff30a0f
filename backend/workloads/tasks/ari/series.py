"""One user's values of one metric in the order of time, as arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

DAY: Final = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Series:
    """``times`` are microseconds after the window's begin, ascending, each moment once."""

    user_id: int
    metric: str
    times: NDArray[np.int64]
    values: Floats

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Series":
        """From what :func:`backend.workloads.tasks.ari.reading.read_series` gives."""
        times = np.array(entry["times"], dtype=np.int64)
        values = np.array(entry["values"], dtype=np.float64)
        return cls(entry["user_id"], entry["metric"], times, values)

    @property
    def days(self) -> Floats:
        """After the first snapshot."""
        days: Floats = (self.times - self.times[0]) / DAY
        return days

    def moment(self, index: int, since: datetime) -> datetime:
        return since + timedelta(microseconds=int(self.times[index]))


def scale_of(values: Floats) -> float:
    """The power of two that takes ``values`` below 2 in magnitude: dividing by it loses nothing.

    Figures are computed of such values, so that no sum or difference of huge ones overflows.
    """
    most = float(np.max(np.abs(values)))
    return math.ldexp(1.0, math.frexp(most)[1] - 1) if most else 1.0


def finite(figure: float) -> float | None:
    """A figure as JSON can hold it; None where it is too large to be represented."""
    return float(figure) if math.isfinite(figure) else None
