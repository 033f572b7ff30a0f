"""Imported advisories as a source of a scan, beside the same records read from files."""

import json
from typing import Any

import pytest

from backend.workloads.packages.advisories.known import ImportedAdvisories
from backend.workloads.packages.advisories.stored import staged
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv import OsvRecords
from backend.workloads.packages.scanning.osv_record import read
from backend.workloads.packages.scanning.sources import Source

Event = dict[str, str]


def record(*events: Event, name: str = "demo", identifier: str = "GHSA-1") -> dict[str, Any]:
    ranges = [{"type": "SEMVER", "events": list(events)}]
    affected = [{"package": {"ecosystem": "npm", "name": name}, "ranges": ranges}]
    return {"id": identifier, "modified": "2026-01-02T03:04:05Z", "affected": affected}


def imported(*records: dict[str, Any]) -> Source:
    stored = [json.loads(staged(read(one))) for one in records]
    rows = [
        {**one, "package": name, "affected": blocks}
        for one in stored
        for name, blocks in one["packages"].items()
    ]
    known = {"records": len(rows), "newest": None, "digest": 1, "advisories": rows}
    return ImportedAdvisories(known, complete=True)


def from_files(*records: dict[str, Any]) -> Source:
    return OsvRecords([read(one) for one in records], name="osv", complete=True, broken=[])


SOURCES = pytest.mark.parametrize("source", [imported, from_files])
FIXED = ({"introduced": "0"}, {"fixed": "1.0.0"}, {"introduced": "2.0.0-rc.1"}, {"fixed": "2.1.0"})


@SOURCES
@pytest.mark.parametrize(
    ("version", "fixes"),
    [
        ("1.0.0", ("GHSA-1",)), ("2.1.0", ("GHSA-1",)), ("1.0.0+build", ("GHSA-1",)),
        ("1.0.0-beta", ()), ("1.0.1", ()), ("0.9.0", ()),
    ],
)  # fmt: skip
def test_a_version_is_known_as_the_repair_of_an_advisory(
    source: Any, version: str, fixes: tuple[str, ...]
) -> None:
    records = (record(*FIXED), record(*FIXED, name="other", identifier="GHSA-2"))
    asked = [Component(name="demo", version=version), Component(name="other", version="1.0.0")]

    assert source(*records).scan(asked, None).repairs == fixes
    assert source(*records).scan([], None).repairs == ()


@SOURCES
@pytest.mark.parametrize(
    ("version", "hit"),
    [
        ("1.0.0-beta", True), ("1.0.0-0", True), ("0.0.0-0", True), ("1.0.0", False),
        ("1.0.1-beta", False), ("2.0.0-beta", False), ("2.0.0-rc.1", True), ("2.0.0-rc.10", True),
        ("2.1.0-rc.1", True), ("2.1.0", False), ("2.1.1-rc.1", False),
    ],
)  # fmt: skip
def test_a_pre_release_stands_before_its_release(source: Any, version: str, hit: bool) -> None:
    """As the Open Source Vulnerability schema orders versions, unlike npm's ranges."""
    asked = Component(name="demo", version=version)

    found = source(record(*FIXED)).scan([asked], None).findings

    assert [one.kind for one in found] == (["vulnerability"] if hit else [])
