"""Figures of each metric; see docs/tasks/ari.md for the formulas."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from backend.queue.reporting import report
from backend.workloads.tasks.ari.series import Floats, Series, finite, scale_of

PERCENTS: Final = (50, 90, 95, 99)
MAX_LISTED: Final = 1_000
"""Series that are listed one by one where all users' were asked for."""


def aggregate(asked: dict[str, Any]) -> dict[str, Any]:
    """The result of ``aggregate_ari_snapshots``."""
    data = asked["data"]
    since = datetime.fromisoformat(data["since"])
    series = [Series.of(entry) for entry in data["series"]]
    listed = series[:MAX_LISTED] if asked["user_id"] is None else []
    return {
        "status": "ok" if series else "insufficient_data",
        "user_id": asked["user_id"],
        "window": {"since": data["since"], "until": data["until"]},
        "snapshots": sum(one.values.size for one in series),
        "users": len({one.user_id for one in series}),
        "metrics": _pooled(series, since),
        "by_user": [figures([one], since) | {"user_id": one.user_id} for one in listed],
        "not_listed": len(series) - len(listed) if asked["user_id"] is None else 0,
    }


def _pooled(series: Iterable[Series], since: datetime) -> list[dict[str, Any]]:
    by_metric: dict[str, list[Series]] = {}
    for one in series:
        by_metric.setdefault(one.metric, []).append(one)
    made = []
    for done, metric in enumerate(sorted(by_metric)):
        report(100 * done / len(by_metric), f"{done} of {len(by_metric)} metrics")
        made.append(figures(by_metric[metric], since))
    return made


def figures(series: Sequence[Series], since: datetime) -> dict[str, Any]:
    """Those of one metric: of one user's series, or of several users' together."""
    values = np.concatenate([one.values for one in series])
    scale = scale_of(values)
    return {
        "metric": series[0].metric,
        "users": len(series),
        "count": values.size,
        "average": average(values),
        "minimum": float(np.min(values)),
        "maximum": float(np.max(values)),
        "percentiles": _percentiles(values / scale, scale),
        "latest": _latest(series, since),
        "slope_per_day": _slope(series, scale),
    }


def average(values: Floats) -> float:
    """The mean, from an exact sum: it does not depend on the order, nor leave the values' range."""
    scale = scale_of(values)
    mean = math.fsum(values / scale) / values.size * scale
    return min(max(mean, float(np.min(values))), float(np.max(values)))


def _percentiles(scaled: Floats, scale: float) -> dict[str, float]:
    found = np.percentile(scaled, PERCENTS, method="linear") * scale
    return {f"p{percent}": float(value) for percent, value in zip(PERCENTS, found, strict=True)}


def _latest(series: Sequence[Series], since: datetime) -> dict[str, Any]:
    newest = max(series, key=lambda one: (one.times[-1], one.user_id))
    return {
        "value": float(newest.values[-1]),
        "taken_at": newest.moment(-1, since).isoformat(),
        "user_id": newest.user_id,
    }


def _slope(series: Sequence[Series], scale: float) -> float | None:
    """Least squares about each user's own means: users who differ in level make no trend.

    None where no user has snapshots at two moments, or where it is too large to be represented.
    """
    products, squares = 0.0, 0.0
    for one in series:
        days, values = one.days, one.values / scale
        days -= average(days)
        products += math.fsum(days * (values - average(values)))
        squares += math.fsum(days * days)
    return finite(products / squares * scale) if squares else None
