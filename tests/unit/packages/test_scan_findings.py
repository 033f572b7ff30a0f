import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backend.workloads.packages.scanning.findings import (
    Component,
    Finding,
    Severity,
    merge,
    npm_purl,
    sorted_versions,
)
from backend.workloads.packages.scanning.score import security_score

HERE = "pkg:npm/demo@1.0.0"


def finding(identifier: str = "CVE-1", *aliases: str, **fields: object) -> Finding:
    given_fields = {"source": "osv", "component": HERE} | fields
    return Finding.model_validate({"id": identifier, "aliases": aliases} | given_fields)


def test_ids_of_one_advisory_are_merged_transitively() -> None:
    merged = merge([
        finding("CVE-1", "GHSA-b", severity="low", fixed=("1.2.0",)),
        finding("SNYK-9", "CVE-2", severity="medium", fixed=("1.10.0",), source="trivy"),
        finding("GHSA-b", "CVE-2", severity="high", title="long title", source="api"),
    ])  # fmt: skip
    (one,) = merged
    assert (one.id, one.aliases) == ("GHSA-b", ("CVE-1", "CVE-2", "SNYK-9"))
    assert one.severity is Severity.HIGH
    assert one.fixed == ("1.2.0", "1.10.0")
    assert one.source == "api,osv,trivy"
    assert one.title == "long title"


def test_the_same_advisory_of_two_components_stays_two_findings() -> None:
    assert len(merge([finding(), finding(component="pkg:npm/other@1.0.0")])) == 2


def test_a_secret_is_never_merged_with_an_advisory() -> None:
    assert len(merge([finding("x"), finding("x", kind="secret")])) == 2


def test_any_rating_beats_none_and_the_worst_rating_wins() -> None:
    assert merge([finding(), finding(severity="low")])[0].severity is Severity.LOW
    assert merge([finding(severity="low"), finding(severity="critical")])[0].severity == "critical"
    assert merge([finding(), finding()])[0].unrated


def test_a_certain_word_beats_an_undetermined_one_and_malware_beats_both() -> None:
    open_question, certain = finding(kind="undetermined"), finding()
    assert merge([open_question, certain])[0].kind == "vulnerability"
    malware = finding("MAL-1", "CVE-1", kind="malware", severity="critical")
    assert [(f.id, f.kind) for f in merge([certain, malware])] == [("MAL-1", "malware")]


IDS = st.sampled_from(["GHSA-a", "GHSA-b", "CVE-1", "CVE-2", "MAL-1", "X"])
FINDINGS = st.builds(
    Finding,
    id=IDS,
    aliases=st.lists(IDS, max_size=2).map(tuple),
    severity=st.sampled_from(Severity),
    title=st.sampled_from([None, "a", "bb"]),
    fixed=st.sampled_from([None, ("1.0.0",), ("2.0.0", "10.0.0")]),
    source=st.sampled_from(["osv", "trivy"]),
    component=st.sampled_from([HERE, "pkg:npm/other@1.0.0"]),
    kind=st.sampled_from(["vulnerability", "malware", "secret", "licence", "undetermined"]),
)


@given(st.lists(FINDINGS, max_size=8), st.randoms())
def test_merging_depends_on_no_order_and_changes_nothing_twice(
    findings: list[Finding], random: object
) -> None:
    merged = merge(findings)
    assert merge(merged) == merged
    assert merge(reversed(findings)) == merged
    assert merge(findings + list(merged)) == merged


@given(st.lists(FINDINGS, max_size=8))
def test_merging_loses_no_id_and_softens_nothing(findings: list[Finding]) -> None:
    merged = merge(findings)
    named = {(f.component, i) for f in merged for i in (f.id, *f.aliases)}
    assert named == {(f.component, i) for f in findings for i in (f.id, *f.aliases)}
    rated = [f.severity for f in findings if not f.unrated]
    assert not rated or min(map(list(Severity).index, rated)) == min(
        list(Severity).index(f.severity) for f in merged
    )


def test_a_finding_is_immutable_and_survives_json() -> None:
    one = finding(fixed=("1.0.0",), title="x")
    assert Finding.model_validate_json(one.model_dump_json()) == one
    with pytest.raises(ValidationError):
        one.id = "other"  # type: ignore[misc] # that it is refused is the point


@pytest.mark.parametrize(
    ("name", "version", "purl"),
    [
        ("lodash", "4.17.4", "pkg:npm/lodash@4.17.4"),
        ("@babel/core", "7.0.0", "pkg:npm/%40babel/core@7.0.0"),
        ("JSONStream", "1.0.0+b", "pkg:npm/JSONStream@1.0.0%2Bb"),
    ],
)
def test_a_component_has_a_package_url(name: str, version: str, purl: str) -> None:
    assert npm_purl(name, version) == Component(name=name, version=version).purl == purl


def test_versions_sort_as_npm_orders_them() -> None:
    given_versions = ["1.10.0", "1.2.0", "nonsense", "1.2.0-rc.10", "1.2.0-rc.9", "1.2.0"]
    expected = ("1.2.0-rc.9", "1.2.0-rc.10", "1.2.0", "1.10.0", "nonsense")
    assert sorted_versions(given_versions) == expected


@pytest.mark.parametrize(
    ("severities", "score"),
    [
        ([], 100),
        (["critical"], 0),
        (["critical", "low"], 0),
        (["high"], 85),
        (["medium"], 92),
        (["low"], 97),
        (["unknown"], 85),
        (["high", "medium", "low"], 74),
        (["high"] * 7, 0),
    ],
)
def test_the_score_follows_the_published_formula(severities: list[str], score: int) -> None:
    findings = [finding(severity=severity) for severity in severities]
    assert security_score(findings, covered=True) == score


def test_without_coverage_there_is_no_score() -> None:
    assert security_score([], covered=False) is None
    assert security_score([finding(severity="critical")], covered=False) is None


def test_a_licence_matter_does_not_lower_the_security_score() -> None:
    assert security_score([finding(kind="licence", severity="critical")], covered=True) == 100
