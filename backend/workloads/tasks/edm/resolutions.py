"""What became of debts: counted in the database, put together in the child."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.workloads.tasks.data_model import DebtKind, Resolution, Severity

# Owed in the window is what is open now, and what was resolved in it: what was resolved before it
# was no longer owed.
_OWED: Final = """
FROM (
  SELECT kind, severity, resolution_method, created_at, status = 'open' AS open,
    greatest(0, extract(epoch FROM resolved_at - created_at)) / 86400 AS days,
    greatest(0, extract(epoch FROM now() - created_at)) / 86400 AS age
  FROM debts
  WHERE user_id = :user_id AND (status = 'open' OR resolved_at BETWEEN :since AND now())
) owed
"""
_TIMES: Final = text(f"""
SELECT now() AS until,
  count(*) FILTER (WHERE created_at >= :since) AS raised,
  avg(days) FILTER (WHERE NOT open) AS mean_days,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY days) FILTER (WHERE NOT open) AS median_days,
  avg(age) FILTER (WHERE open) AS mean_age,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY age) FILTER (WHERE open) AS median_age,
  max(age) FILTER (WHERE open) AS oldest,
  count(*) FILTER (WHERE open AND age < 7) AS under_7,
  count(*) FILTER (WHERE open AND age >= 7 AND age < 30) AS from_7_to_30,
  count(*) FILTER (WHERE open AND age >= 30 AND age < 90) AS from_30_to_90,
  count(*) FILTER (WHERE open AND age >= 90) AS from_90
{_OWED}
""")
_COUNTS: Final = text(f"""
SELECT kind, severity, CASE WHEN NOT open THEN resolution_method END AS method, count(*) AS debts
{_OWED}
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")

AGES: Final = ("under_7", "from_7_to_30", "from_30_to_90", "from_90")


def read_resolutions(session: Session, user_id: int | None, back: timedelta) -> dict[str, Any]:
    """``counts``: kind, severity, method (None: open) and how many; days are of 24 hours."""
    now = session.scalars(text("SELECT now()")).one()
    given = {"user_id": user_id, "since": now - back}
    times = session.execute(_TIMES, given).one()._mapping  # noqa: SLF001 - documented
    plain = {
        name: value if isinstance(value, int) or value is None else float(value)
        for name, value in times.items()
        if name != "until"
    }
    counts = [list(row) for row in session.execute(_COUNTS, given)]
    return {
        "since": (now - back).isoformat(),
        "until": now.isoformat(),
        "times": plain,
        "counts": counts,
    }


def track(asked: dict[str, Any]) -> dict[str, Any]:
    """The result of the task."""
    data = asked["data"]
    counts, times = data["counts"], data["times"]
    resolved = sum(debts for *_, method, debts in counts if method is not None)
    still_open = sum(debts for *_, method, debts in counts if method is None)
    methods = Counter[str]()
    for *_, method, debts in counts:
        methods[method] += debts if method is not None else 0
    most = max((methods[method] for method in Resolution), default=0)
    return {
        "status": "completed" if counts else "insufficient_data",
        "user_id": asked["user_id"],
        "window": {"since": data["since"], "until": data["until"]},
        "owed": resolved + still_open,
        "raised": times["raised"],
        "resolved": resolved,
        "open": still_open,
        "resolution_rate": resolved / (resolved + still_open) if counts else None,
        "mean_days": times["mean_days"],
        "median_days": times["median_days"],
        "by_method": {method.value: methods[method] for method in Resolution},
        "commonest_methods": [m for m in Resolution if most and methods[m] == most],
        "by_kind": _tallied(counts, 0, DebtKind),
        "by_severity": _tallied(counts, 1, Severity),
        "backlog": {
            "mean_days": times["mean_age"],
            "median_days": times["median_age"],
            "oldest_days": times["oldest"],
            "by_age": {age: times[age] for age in AGES},
        },
    }


def _tallied(
    counts: Iterable[Sequence[Any]], column: int, words: Iterable[str]
) -> dict[str, dict[str, int]]:
    tally = {str(word): {"resolved": 0, "open": 0} for word in words}
    for row in counts:
        tally[row[column]]["open" if row[2] is None else "resolved"] += row[3]
    return tally
