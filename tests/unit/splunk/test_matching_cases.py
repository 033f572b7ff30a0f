"""Cases that others wrote: events and the settings that apply, clients and the apps they get."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.entries import Client
from backend.workloads.splunk.matching.props import Event, apply
from backend.workloads.splunk.matching.serverclass import DeploymentServer, defined
from backend.workloads.splunk.resolution.context import GLOBAL
from backend.workloads.splunk.resolution.effective import Configuration
from tests.splunk_tree import installation

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "splunk"

pytestmark = [
    pytest.mark.cases,
    pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there"),
]


def cases(kind: str) -> list[Any]:
    if not CASES.is_dir():
        return []
    found = json.loads((CASES / "cases.json").read_text())
    return [
        pytest.param(case, id=case["id"])
        for case in found
        if case["kind"] == kind and case["basis"] != "unverified"
    ]


def read(case: dict[str, Any]) -> Configuration:
    etc = CASES / case["etc"]
    return installation({
        str(file.relative_to(etc)): file.read_text() for file in sorted(etc.rglob("*.conf"))
    })  # fmt: skip


@pytest.mark.parametrize("case", cases("props_match"))
def test_the_settings_of_an_event(case: dict[str, Any]) -> None:
    event = Event(*(case["event"].get(word) for word in ("source", "host", "sourcetype")))

    found = apply(read(case).effective("props", GLOBAL), event, Work())

    assert {key: one.value for key, one in found.settings.items()} == case["expected"]


@pytest.mark.parametrize("case", cases("serverclass"))
def test_the_apps_of_a_client(case: dict[str, Any]) -> None:
    configuration = read(case)
    server = DeploymentServer(
        configuration.effective("serverclass", GLOBAL),
        defined(configuration.stanzas("serverclass")),
        repository=None, files={}, work=Work(),
    )  # fmt: skip

    assert {
        name: server.deployment(Client(name, (name,))).apps(True) for name in case["expected"]
    } == case["expected"]
