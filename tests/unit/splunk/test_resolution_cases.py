"""Merge cases that others wrote: a tree, a conf type, a context, and what must hold there."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.workloads.splunk.conf.parsing import parse
from backend.workloads.splunk.places import PlacedStanza, UploadType
from backend.workloads.splunk.provenance import Placing
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.effective import Configuration

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "splunk"

pytestmark = [
    pytest.mark.cases,
    pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there"),
]


def merge_cases() -> list[Any]:
    if not CASES.is_dir():
        return []
    found = json.loads((CASES / "cases.json").read_text())
    return [pytest.param(case, id=case["id"]) for case in found if case["kind"] == "merge"]


def read(etc: Path) -> Configuration:
    """The configuration of a folder, by the parser and the provenance that uploads go through."""
    paths = {f"etc/{file.relative_to(etc)}": file for file in etc.rglob("*") if file.is_file()}
    placing = Placing(UploadType.INSTANCE_ETC)
    for path in sorted(paths):
        placing.see(path)
    stanzas = []
    for path, file in sorted(paths.items()):
        place = placing.of(path)
        if place is None:
            continue
        conf_type = "meta" if file.suffix == ".meta" else file.stem
        stanzas += [
            PlacedStanza(place, conf_type, s.name, placing.below(path), s.line, s.settings, s.lines)
            for s in parse(file.read_bytes()).stanzas
        ]
    return Configuration(stanzas)


def context_of(said: dict[str, str]) -> Context:
    kind = said["role"] if "role" in said else said["type"]
    return Context(ContextKind(kind), said.get("app"), said.get("user"))


@pytest.mark.parametrize("case", merge_cases())
def test_what_holds_and_where_it_is_said(case: dict[str, Any]) -> None:
    configuration = read(CASES / case["etc"])

    found = configuration.effective(case["conf"], context_of(case["context"]))

    assert {
        name: {
            key: [resolved.value, resolved.winner.path.rpartition("/")[0]]
            for key, resolved in settings.items()
        }
        for name, settings in found.items()
        if settings
    } == case["expected"]
