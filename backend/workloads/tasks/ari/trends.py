"""Trends of one user's metrics, and what is to be told of them; see docs/tasks/ari.md."""

from datetime import datetime
from typing import Any, Final

import numpy as np

from backend.queue.reporting import report
from backend.workloads.tasks.ari.mann_kendall import mann_kendall
from backend.workloads.tasks.ari.series import Floats, Series, finite, scale_of
from backend.workloads.tasks.ari.theil_sen import Line, theil_sen

CRITICAL: Final = 20.0  # percent
SIGNIFICANCE: Final = 0.05
FEW: Final = 10
"""Below so many values the normal approximation of the test is rough."""
NEGLIGIBLE: Final = 1e-9
"""A fitted start, or a scatter, below this share of the values is rounding; so is what a change
falls short of a limit by."""

FEW_POINTS: Final = "fewer than 10 snapshots: the p-value is an approximation"
NO_INTERVAL: Final = "too few snapshots for a confidence interval of the slope"
THINNED: Final = "the line is fitted to {points} of {count} snapshots, one of each equal stretch"
ALIKE: Final = (
    "neighbouring snapshots are alike (lag-1 autocorrelation {r:.2f}): "
    "the p-value and the interval are too optimistic"
)
NO_BASE: Final = (
    "no percentage: the fitted line starts at zero, or beyond zero from where most snapshots are"
)
OF_MAGNITUDE: Final = "the fitted line starts below zero: the change is in percent of its magnitude"


def analyze(asked: dict[str, Any]) -> dict[str, Any]:
    """The result of ``analyze_ari_trends``."""
    data, threshold = asked["data"], asked["parameters"]["threshold_percent"]
    since = datetime.fromisoformat(data["since"])
    series = [Series.of(entry) for entry in data["series"]]
    metrics = []
    for done, one in enumerate(series):
        report(100 * done / len(series), f"{done} of {len(series)} metrics")
        metrics.append(_metric(one, since))
    enough = any(metric["status"] == "ok" for metric in metrics)
    return {
        "status": "ok" if enough else "insufficient_data",
        "user_id": asked["user_id"],
        "window": {"since": data["since"], "until": data["until"]},
        "snapshots": sum(one.values.size for one in series),
        "threshold_percent": threshold,
        "metrics": metrics,
        "alerts": alerts(metrics, threshold),
    }


def _metric(series: Series, since: datetime) -> dict[str, Any]:
    count = series.values.size
    seen = {
        "metric": series.metric,
        "count": count,
        "first_at": series.moment(0, since).isoformat(),
        "last_at": series.moment(-1, since).isoformat(),
    }
    if count < 2:  # noqa: PLR2004 - one point has no trend
        return seen | {"status": "insufficient_data", "trend": None}
    return seen | {"status": "ok", "trend": trend(series.days, series.values)}


def trend(days: Floats, values: Floats) -> dict[str, Any]:
    """Of values at ascending times, the first of them 0."""
    scale = scale_of(values)
    scaled = values / scale
    test, line = mann_kendall(values), theil_sen(days, scaled)
    start, end = (float(value) for value in line.at(days[[0, -1]]))
    significant = test.p_value < SIGNIFICANCE
    percent = _change(start, end, scaled)
    similar = _autocorrelation(scaled - line.at(days), scaled)
    return {
        "slope_per_day": finite(line.slope * scale),
        "slope_low": None if line.low is None else finite(line.low * scale),
        "slope_high": None if line.high is None else finite(line.high * scale),
        "points": line.points,
        "s": test.s,
        "tau": test.tau,
        "z": test.z,
        "p_value": test.p_value,
        "significant": significant,
        "direction": _direction(line.slope, significant=significant),
        "start": finite(start * scale),
        "end": finite(end * scale),
        "change_percent": percent,
        "autocorrelation": similar,
        "caveats": _caveats(line, values.size, percent, start, similar),
    }


def _direction(slope: float, *, significant: bool) -> str:
    if not slope:
        return "flat"
    if not significant:
        return "uncertain"
    return "increasing" if slope > 0 else "decreasing"


def _change(start: float, end: float, scaled: Floats) -> float | None:
    """In percent of where the line starts; None where that is no base for a percentage."""
    negligible = abs(start) <= NEGLIGIBLE * float(np.max(np.abs(scaled)))
    if negligible or np.sign(start) != np.sign(np.median(scaled)):
        return None
    return finite(100 * (end - start) / abs(start))


def _autocorrelation(left: Floats, scaled: Floats) -> float | None:
    """Lag one, of what the line leaves over; None where it leaves nothing but rounding."""
    left = left - np.mean(left)
    squares = float(left @ left)
    if np.max(np.abs(left)) <= NEGLIGIBLE * np.max(np.abs(scaled)):
        return None
    return float(left[1:] @ left[:-1]) / squares


def _caveats(
    line: Line, count: int, percent: float | None, start: float, similar: float | None
) -> list[str]:
    said = []
    if count < FEW:
        said.append(FEW_POINTS)
    if line.low is None:
        said.append(NO_INTERVAL)
    if line.points < count:
        said.append(THINNED.format(points=line.points, count=count))
    if similar is not None and count >= FEW and similar > 1.96 / count**0.5:
        said.append(ALIKE.format(r=similar))
    if percent is None:
        said.append(NO_BASE)
    elif start < 0:
        said.append(OF_MAGNITUDE)
    return said


def alerts(metrics: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """One for each metric that changed by ``threshold`` percent or more, the largest first."""
    found = []
    for metric in metrics:
        percent = (metric["trend"] or {}).get("change_percent")
        if percent is not None and _reaches(percent, threshold):
            found.append(_alert(metric["metric"], percent, metric["trend"]["significant"]))
    return sorted(found, key=lambda alert: -abs(alert["change_percent"]))


def _reaches(percent: float, limit: float) -> bool:
    """From 100 to 120 is 20 percent, also where the sum came to 19.999999999999996."""
    return abs(percent) >= limit * (1 - NEGLIGIBLE)


def _alert(metric: str, percent: float, significant: bool) -> dict[str, Any]:
    moved = "rose" if percent > 0 else "fell"
    sure = "" if significant else ", which may be chance"
    return {
        "metric": metric,
        "level": "critical" if _reaches(percent, CRITICAL) else "warning",
        "change_percent": percent,
        "significant": significant,
        "message": f"{metric} {moved} by {abs(percent):.1f} %{sure}",
    }
