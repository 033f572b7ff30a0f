"""Alerts and the dashboard: they use metrics that there are, and each alert has its runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import of_kind

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules" / "lockkeeper.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "lockkeeper.json"
RUNBOOKS = ROOT / "docs" / "runbooks"
CASES = Path(__file__).with_name("alert_cases.yml")

METRIC = re.compile(r"\blockkeeper_\w+")
DOCUMENTED = re.compile(r"^\| `(lockkeeper_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
BLOCK = re.compile(r"^```promql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MATCHED = re.compile(r"(lockkeeper_\w+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)(?:=~|!~|!=|=)")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> Iterator[str]:
    """Every expression of the rules and of the dashboard."""
    yield from (rule["expr"] for rule in rules())
    yield from (query["expr"] for panel in panels() for query in panel.get("targets", ()))


def metrics() -> dict[str, set[str]]:
    """Labels of every series, by its name as it is scraped."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in DOCUMENTED.findall((ROOT / "docs" / "metrics.md").read_text()):
        own = {label.strip() for label in labels.split(",")} - {"\N{EN DASH}"}
        endings = {"_bucket": {"le"}, "_sum": set(), "_count": set()}
        series = endings if kind == "histogram" else {"": set[str]()}
        found |= {name + ending: own | more for ending, more in series.items()}
    return found


def same(expression: str) -> str:
    """Without comments, line breaks and indents."""
    return " ".join(re.sub(r"#.*$", "", expression, flags=re.MULTILINE).split())


def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("ALERTS NOT EVALUATED: there is no promtool on this machine")
    return program


def test_every_metric_that_is_asked_for_exists_with_its_labels() -> None:
    known = metrics()
    asked = {name for query in queries() for name in METRIC.findall(query)}
    matched = [
        (name, label)
        for query in queries()
        for name, matchers in MATCHED.findall(query)
        for label in LABEL.findall(matchers)
        if label not in known[name]
    ]

    assert len(asked) > len(rules())
    assert asked <= set(known)
    assert matched == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_page_that_explains_its_expression(rule: dict[str, Any]) -> None:
    page = ROOT / rule["annotations"]["runbook"]
    text = page.read_text()

    assert f"`{rule['alert']}`" in text
    assert same(rule["expr"]) in {same(block) for block in BLOCK.findall(text)}
    if "for" in rule:
        assert f"# for: {rule['for']}" in text
    assert f"({page.name})" in (RUNBOOKS / "README.md").read_text()


def test_the_pages_name_every_alert_and_no_other() -> None:
    alerts = {rule["alert"] for rule in rules()}
    pages = [*RUNBOOKS.glob("*.md"), ROOT / "docs" / "metrics.md"]
    named = {name for page in pages for name in re.findall(r"`(Lockkeeper\w+)`", page.read_text())}

    assert named == alerts


def test_an_operator_is_told_of_the_same_alerts() -> None:
    (told,) = of_kind("production", "PrometheusRule").values()

    assert told["spec"] == yaml.safe_load(RULES.read_text())


def test_the_dashboard_asks_its_own_source_and_names_each_panel_once() -> None:
    shown = [panel for panel in panels() if panel["type"] != "row"]
    titles = [panel["title"] for panel in panels()]

    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in panels()}) == len(titles)
    assert all(panel["datasource"]["uid"] == "${source}" for panel in shown)
    assert all(panel["targets"] and panel["description"] for panel in shown)


def test_alerts_fire_when_they_should_and_not_else() -> None:
    done = subprocess.run(
        [promtool(), "test", "rules", CASES], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """Of the dashboard too: each as a rule that records it."""
    recorded = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
