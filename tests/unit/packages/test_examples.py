import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from nodesemver import satisfies, valid

from backend.workloads.packages.licences import LicencePolicy, Tier, load_default_licences

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
LOCK: dict[str, Any] = json.loads((EXAMPLES / "package-lock.json").read_text("utf-8"))
ENTRIES: dict[str, dict[str, Any]] = {k: v for k, v in LOCK["packages"].items() if k}
REGISTRY = {path: entry for path, entry in ENTRIES.items() if "integrity" in entry}
ADVISORY_FILES = sorted((EXAMPLES / "advisories").glob("*.json"))
ADVISORIES: list[dict[str, Any]] = [json.loads(f.read_text("utf-8")) for f in ADVISORY_FILES]


def name_of(path: str, entry: dict[str, Any]) -> str:
    return str(entry.get("name") or path.rpartition("node_modules/")[2])


def affects(advisory: dict[str, Any], name: str, version: str) -> bool:
    return any(
        satisfies(version, f">={introduced['introduced']}" + "".join(f" <{fixed}" for fixed in end))
        for affected in advisory["affected"]
        if affected["package"]["name"] == name
        for range_ in affected["ranges"]
        for introduced, end in spans(range_["events"])
    )


def spans(events: list[dict[str, str]]) -> list[tuple[dict[str, str], list[str]]]:
    return [
        (event, [following["fixed"] for following in events[i + 1 : i + 2]])
        for i, event in enumerate(events)
        if "introduced" in event
    ]


def test_the_lock_is_one_that_npm_writes_today() -> None:
    assert (LOCK["name"], LOCK["version"], LOCK["lockfileVersion"]) == (
        "harbour-portal",
        "1.4.0",
        3,
    )
    assert 25 <= len(REGISTRY) <= 40


def test_every_entry_is_a_package_a_component_or_has_no_registry_bytes() -> None:
    components = {path for path, entry in ENTRIES.items() if entry.get("inBundle")}
    local = {path for path, entry in ENTRIES.items() if entry.get("link") or path in workspaces()}
    assert len(REGISTRY) + len(components) + len(local) == len(ENTRIES)
    assert (len(components), local) == (2, {"node_modules/@harbour/charts", "packages/charts"})


def workspaces() -> list[str]:
    root: dict[str, list[str]] = LOCK["packages"][""]
    return root["workspaces"]


def test_the_lock_names_no_host_that_bytes_could_come_from() -> None:
    resolved = {path: entry["resolved"] for path, entry in ENTRIES.items() if "resolved" in entry}
    assert resolved == {"node_modules/@harbour/charts": "packages/charts"}
    urls = re.findall(r"\w+://[^/\"]+", json.dumps(LOCK))
    assert set(urls) <= {"https://github.com"}  # sponsors, in npm's own `funding`


def test_every_package_of_the_lock_is_pinned_by_sha512() -> None:
    for path, entry in REGISTRY.items():
        algorithm, _, digest = entry["integrity"].partition("-")
        assert algorithm == "sha512", path
        assert len(base64.b64decode(digest, validate=True)) == 64, path


def test_the_lock_shows_every_kind_of_entry() -> None:
    assert any("name" in entry for entry in REGISTRY.values())  # an alias
    assert any(entry.get("os") and entry.get("optional") for entry in REGISTRY.values())
    assert any(entry.get("dev") for entry in REGISTRY.values())
    assert any(name_of(path, entry).startswith("@") for path, entry in REGISTRY.items())


def test_the_lock_shows_every_verdict_on_a_licence() -> None:
    policy = LicencePolicy({e.identifier: e.status for e in load_default_licences()})
    verdicts = [policy.judge(entry.get("license")) for entry in REGISTRY.values()]
    assert {verdict.tier for verdict in verdicts} == {*Tier, None}
    assert {" OR ", " AND "} <= {
        m for v in verdicts for m in re.findall(" [A-Z]+ ", str(v.expression))
    }


def test_some_packages_have_findings_of_each_severity_and_some_have_none() -> None:
    found = {
        (path, advisory["database_specific"]["severity"])
        for path, entry in REGISTRY.items()
        for advisory in ADVISORIES
        if "withdrawn" not in advisory and affects(advisory, name_of(path, entry), entry["version"])
    }
    assert {severity for _, severity in found} == {"CRITICAL", "HIGH", "MODERATE", "LOW"}
    assert 10 <= len({path for path, _ in found}) < len(REGISTRY) - 10


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory["id"])
def test_each_advisory_is_an_osv_record(advisory: dict[str, Any]) -> None:
    assert advisory["schema_version"] == "1.6.0"
    for moment in ("published", "modified", "withdrawn"):
        if moment in advisory:
            assert datetime.fromisoformat(advisory[moment]).utcoffset() is not None
    assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}", alias) for alias in advisory.get("aliases", []))
    assert advisory["summary"].endswith(".")
    assert advisory["database_specific"]["severity"] in {"CRITICAL", "HIGH", "MODERATE", "LOW"}
    for severity in advisory.get("severity", []):
        assert severity["type"] == "CVSS_V3"
        assert re.fullmatch(
            r"CVSS:3\.[01]/AV:[NALP]/AC:[LH]/PR:[NLH]/UI:[NR]/S:[UC](/[CIA]:[NLH]){3}",
            severity["score"],
        )


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory["id"])
def test_each_advisory_has_readable_ranges(advisory: dict[str, Any]) -> None:
    assert advisory["affected"]
    for affected in advisory["affected"]:
        assert affected["package"]["ecosystem"] == "npm"
        for range_ in affected["ranges"]:
            assert range_["type"] == "SEMVER"
            for i, event in enumerate(range_["events"]):
                ((kind, version),) = event.items()
                assert kind == ("introduced", "fixed")[i % 2]
                assert version == "0" or valid(version, loose=False)


def test_each_advisory_lies_in_a_file_of_its_own_name() -> None:
    assert [file.stem for file in ADVISORY_FILES] == [advisory["id"] for advisory in ADVISORIES]
    assert 12 <= len(ADVISORIES) <= 25


def test_made_up_advisories_say_so() -> None:
    made_up = {a["id"] for a in ADVISORIES if a["summary"].startswith("Made up")}
    assert made_up == {a["id"] for a in ADVISORIES if "0000" in a["id"]}
    assert [a["id"] for a in ADVISORIES if "withdrawn" in a] == ["GHSA-0000-0000-0000"]
    assert [a["id"] for a in ADVISORIES if a["id"].startswith("MAL-")] == ["MAL-0000-0001"]


def test_the_readme_says_that_the_advisories_can_only_convict() -> None:
    assert "It can only convict" in (EXAMPLES / "README.md").read_text("utf-8")
