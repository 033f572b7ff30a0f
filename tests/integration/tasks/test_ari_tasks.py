"""Both ARI tasks from stored snapshots to stored results, each in a real child."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.workloads.tasks.ari import reading
from tests.integration.tasks.workbench import Workbench


def store(bench: Workbench, user_id: int, metric: str, values: list[float], hours: float) -> None:
    """One value each so many ``hours``, the last one an hour ago."""
    bench.database.run(
        "INSERT INTO ari_snapshots (user_id, metric, value, taken_at)"
        " SELECT :user, :metric, value,"
        " now() - make_interval(secs => 3600 * (1 + :hours * (cardinality(:values) - place)))"
        " FROM unnest(CAST(:values AS float8[])) WITH ORDINALITY AS given (value, place)",
        user=user_id, metric=metric, values=values, hours=hours,
    )  # fmt: skip


def by_metric(result: dict[str, Any]) -> dict[str, Any]:
    return {entry["metric"]: entry for entry in result["metrics"]}


def test_figures_are_of_the_window_and_of_ones_own_snapshots_or_of_everybodys(
    bench: Workbench,
) -> None:
    ada, bob = bench.user_id, bench.add_user("bob")
    store(bench, ada, "focus", [1000.0, 1.0, 2.0, 4.0], hours=12)  # the first one 37 hours ago
    store(bench, ada, "calm", [0.5], hours=1)
    store(bench, bob, "focus", [9.0, 8.0], hours=12)
    store(bench, bob, "focus", [77.0], hours=-2)  # an hour ahead of now
    bench.database.run("UPDATE ari_snapshots SET taken_at = now() + '1h' WHERE value = 77")

    own = bench.performed("aggregate_ari_snapshots", {"time_window_hours": 36}, user_id=ada)
    assert (own["status"], own["user_id"], own["snapshots"], own["users"]) == ("ok", ada, 4, 1)
    focus, calm = by_metric(own)["focus"], by_metric(own)["calm"]
    assert (focus["count"], focus["minimum"], focus["maximum"]) == (3, 1, 4)
    assert focus["average"] == pytest.approx(7 / 3)
    assert focus["percentiles"]["p90"] == pytest.approx(3.6)
    assert focus["slope_per_day"] == pytest.approx(3)  # 1.5 each twelve hours
    assert focus["latest"]["value"] == 4
    assert (calm["count"], calm["slope_per_day"]) == (1, None)
    window = [datetime.fromisoformat(own["window"][end]) for end in ("since", "until")]
    assert window[1] - window[0] == timedelta(hours=36)

    everyone = bench.performed("aggregate_ari_snapshots", {"time_window_hours": 36})
    assert (everyone["user_id"], everyone["snapshots"], everyone["users"]) == (None, 6, 2)
    assert by_metric(everyone)["focus"]["count"] == 5
    assert [(m["user_id"], m["metric"], m["count"]) for m in everyone["by_user"]] == [
        (ada, "calm", 1), (ada, "focus", 3), (bob, "focus", 2),
    ]  # fmt: skip

    lately = bench.performed("aggregate_ari_snapshots", {"time_window_hours": 1}, user_id=ada)
    assert (lately["status"], lately["metrics"]) == ("insufficient_data", [])


def test_trends_of_one_users_metrics(bench: Workbench) -> None:
    ada, bob = bench.user_id, bench.add_user("bob")
    store(bench, ada, "focus", [100 - day for day in range(26)], hours=24)
    store(bench, ada, "calm", [50 + day % 2 for day in range(26)], hours=24)
    store(bench, ada, "once", [1.0], hours=24)
    store(bench, bob, "focus", [1.0, 100.0, 200.0], hours=24)

    found = bench.performed("analyze_ari_trends", user_id=ada)
    assert (found["status"], found["snapshots"], found["threshold_percent"]) == ("ok", 53, 10)
    metrics = by_metric(found)
    focus = metrics["focus"]["trend"]
    assert (metrics["focus"]["count"], focus["direction"]) == (26, "decreasing")
    assert focus["change_percent"] == pytest.approx(-25)
    assert focus["slope_per_day"] == pytest.approx(-1)
    assert focus["s"] == -26 * 25 // 2
    assert not metrics["calm"]["trend"]["significant"]
    assert (metrics["once"]["status"], metrics["once"]["trend"]) == ("insufficient_data", None)
    (alert,) = found["alerts"]
    assert (alert["metric"], alert["level"]) == ("focus", "critical")

    week = bench.performed(
        "analyze_ari_trends", {"lookback_days": 7, "threshold_percent": 5}, user_id=ada
    )
    assert by_metric(week)["focus"]["count"] == 7
    assert [alert["level"] for alert in week["alerts"]] == ["warning"]
    assert bench.performed("analyze_ari_trends", user_id=bench.add_user("eve"))["status"] == (
        "insufficient_data"
    )


def test_more_than_one_task_can_hold_is_refused_in_one_sentence(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_SNAPSHOTS", 4)
    store(bench, bench.user_id, "focus", [1.0] * 4, hours=1)
    assert bench.performed("analyze_ari_trends", user_id=bench.user_id)["snapshots"] == 4
    store(bench, bench.user_id, "calm", [1.0], hours=1)
    row_id = bench.submit("analyze_ari_trends", user_id=bench.user_id)
    bench.work()
    task = bench.task(row_id)
    assert (task.status, task.attempts) == ("failed", 1)
    assert task.error == "more than 4 snapshots are in that window: shorten it"


def test_metrics_have_a_limit_too(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_METRICS", 1)
    for metric in ("focus", "calm"):
        store(bench, bench.user_id, metric, [1.0], hours=1)
    row_id = bench.submit("aggregate_ari_snapshots", user_id=bench.user_id)
    bench.work()
    assert bench.task(row_id).error == "more than 1 metrics are in that window: shorten it"
