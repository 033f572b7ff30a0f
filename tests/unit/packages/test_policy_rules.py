"""The judgement: every refusal and every hold names the rule that made it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.workloads.packages.licences import LicencePolicy, LicenceVerdict, Tier
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.rules import Case, Judgement, Rulebook
from backend.workloads.packages.scanning.findings import Finding, Kind, Severity

LICENCES = LicencePolicy(
    {
        "MIT": Tier.ALWAYS_ALLOWED, "MPL-2.0": Tier.ALLOWED, "GPL-3.0-only": Tier.AVOID,
        "AGPL-3.0-only": Tier.BLOCKED,
    }
)  # fmt: skip
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
AUTO = ("auto_approve", "hold")


def licence(expression: str) -> LicenceVerdict:
    return LICENCES.judge(expression)


def case(**given: Any) -> Case:
    plain = Case(
        name="left", version="1.0.0", licence=licence("MIT"), findings=(), scan_result="clean",
        integrity="sha512", install_scripts=(), published_at=None, repairs=(), own_registry=False,
    )  # fmt: skip
    return replace(plain, **given)


def judged(case: Case, **sections: Any) -> Judgement:
    document = PolicyDocument.model_validate({"version": 1, **sections})
    return Rulebook(document).judge(case, NOW)


def rules(judgement: Judgement) -> list[tuple[str, str]]:
    return [(ruling.rule, ruling.effect) for ruling in judgement.rulings]


def against(severity: Severity, kind: Kind = "vulnerability", id_: str = "X-1") -> Finding:
    return Finding(id=id_, severity=severity, source="test", component="pkg:npm/a@1", kind=kind)


@pytest.mark.parametrize(
    ("expression", "findings", "reason"),
    [
        ("MIT", [], None),
        ("GPL-3.0-only", [], None),
        ("Made-Up", [], None),
        ("AGPL-3.0-only", [], "licence blocked by policy: AGPL-3.0-only has status blocked"),
        ("MIT", [against(Severity.HIGH)], None),
        ("MIT", [against(Severity.UNKNOWN)], None),
        ("MIT", [against(Severity.CRITICAL)], "critical vulnerability: X-1"),
        ("MIT", [against(Severity.CRITICAL, "undetermined")], None),
        ("MIT", [against(Severity.CRITICAL, "malware")], "known malware: X-1"),
        ("MIT", [against(Severity.CRITICAL), against(Severity.CRITICAL, "malware", "MAL-1")],
         "known malware: MAL-1"),
        ("AGPL-3.0-only", [against(Severity.CRITICAL)],
         "licence blocked by policy: AGPL-3.0-only has status blocked"),
        ("MIT", [against(Severity.CRITICAL, id_=f"X-{n}") for n in range(7)],
         "critical vulnerability: X-0, X-1, X-2, X-3, X-4 and 2 more"),
    ],
)  # fmt: skip
def test_the_shipped_policy_refuses_a_blocked_licence_malware_and_what_is_critical(
    expression: str, findings: list[Finding], reason: str | None
) -> None:
    judgement = judged(case(licence=licence(expression), findings=findings))
    assert judgement.refusal == reason
    assert judgement.outcome == ("hold" if reason is None else "reject")


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({}, []),
        ({"licence": licence("MPL-2.0")}, []),
        ({"licence": licence("GPL-3.0-only")}, ["licences.avoid"]),
        ({"licence": licence("Made-Up")}, ["licences.unknown"]),
        ({"findings": [against(Severity.LOW)]}, ["severity.hold_at"]),
        ({"findings": [against(Severity.UNKNOWN)]}, ["severity.hold_at"]),
        ({"findings": [against(Severity.LOW, "licence")]}, ["licences.difference"]),
        ({"findings": [against(Severity.HIGH, "undetermined")]}, ["undetermined"]),
        ({"findings": [against(Severity.HIGH, "secret")]}, ["secret"]),
        ({"scan_result": "not covered"}, ["coverage"]),
        ({"scan_result": "not scanned"}, ["coverage"]),
        ({"scan_result": "vulnerable"}, []),
        ({"integrity": "sha1"}, ["weak_integrity"]),
        ({"integrity": "none"}, ["weak_integrity"]),
        ({"integrity": "md5"}, ["weak_integrity"]),
        ({"install_scripts": ["postinstall"]}, ["install_scripts"]),
    ],
)
def test_what_needs_a_person_is_named_and_never_approved_by_itself(
    given: dict[str, Any], held: list[str]
) -> None:
    expected = [(rule, "hold") for rule in held]
    assert rules(judged(case(**given))) == [*expected, AUTO]
    approving = judged(case(**given), auto_approve=True)
    assert rules(approving) == (expected or [("auto_approve", "approve")])
    assert approving.approves is (not held)


@pytest.mark.parametrize(
    ("threshold", "severity", "outcome"),
    [
        ("high", Severity.HIGH, "reject"),
        ("high", Severity.UNKNOWN, "reject"),
        ("high", Severity.MEDIUM, "hold"),
        ("never", Severity.CRITICAL, "hold"),
    ],
)
def test_severities_refuse_from_the_threshold_on(
    threshold: str, severity: Severity, outcome: str
) -> None:
    found = judged(case(findings=[against(severity)]), severity={"reject_at": threshold})
    assert found.outcome == outcome
    assert found.rulings[0].rule == f"severity.{outcome}_at"


def test_below_the_severity_that_holds_a_finding_is_only_shown() -> None:
    found = judged(
        case(findings=[against(Severity.LOW)]), severity={"hold_at": "medium"}, auto_approve=True
    )
    assert found.approves


def test_malware_is_refused_whatever_the_thresholds_are() -> None:
    malware = case(findings=[against(Severity.CRITICAL, "malware", "MAL-1")])
    assert rules(judged(malware, severity={"reject_at": "never", "hold_at": "never"})) == [
        ("malware", "reject")
    ]


@pytest.mark.parametrize(
    ("name", "version", "rule"),
    [
        ("left", "1.0.0", None),
        ("bad", "9.9.9", "denied.packages"),
        ("half", "1.9.0", "denied.packages"),
        ("half", "2.0.0", None),
        ("half", "1.9.0-beta.1", "denied.packages"),
        ("@evil/x", "1.0.0", "denied.scopes"),
        ("@Evil/x", "1.0.0", "denied.scopes"),
        ("@evilx/x", "1.0.0", None),
        ("@ok/half", "1.0.0", "denied.packages"),
        ("evil", "1.0.0", None),
    ],
)
def test_denied_names_ranges_and_scopes(name: str, version: str, rule: str | None) -> None:
    denied = {"packages": ["bad", "half@<2", "@ok/half@1.0.0"], "scopes": ["@evil"]}
    found = judged(case(name=name, version=version), denied=denied)
    assert rules(found)[0] == ((rule, "reject") if rule else AUTO)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("@acme/x", "internal.scopes"),
        ("@ACME/x", "internal.scopes"),
        ("acme-tools", "internal.patterns"),
        ("Acme-Tools", "internal.patterns"),
        ("@lab/acme-x", "internal.patterns"),
        ("xacme-tools", None),
        ("acme", None),
        ("@acmex/y", None),
    ],
)
def test_internal_names_never_come_from_a_public_source(name: str, rule: str | None) -> None:
    internal = {"scopes": ["acme"], "patterns": ["acme-*", "@lab/acme-*"]}
    foreign = judged(case(name=name), internal=internal)
    own = judged(case(name=name, own_registry=True), internal=internal)
    assert rules(foreign)[0] == ((rule, "reject") if rule else AUTO)
    assert rules(own) == [AUTO]


@pytest.mark.parametrize(
    ("required", "given", "refused"),
    [
        ("none", "none", False), ("sha1", "none", True), ("sha1", "sha1", False),
        ("sha512", "sha384", True), ("sha512", "sha512", False), ("sha256", "sha384", False),
    ],
)  # fmt: skip
def test_a_hash_that_is_weaker_than_required_is_refused(
    required: str, given: str, refused: bool
) -> None:
    found = judged(case(integrity=given), required_integrity=required)
    assert (("required_integrity", "reject") in rules(found)) is refused


@pytest.mark.parametrize("treatment", ["hold", "reject"])
def test_install_scripts_are_treated_as_policy_says(treatment: str) -> None:
    scripted = case(install_scripts=["install", "postinstall of inner"])
    found = judged(scripted, install_scripts=treatment)
    assert rules(found)[0] == ("install_scripts", treatment)
    assert "postinstall of inner" in found.rulings[0].reason
    assert judged(scripted, install_scripts="allow", auto_approve=True).approves


@pytest.mark.parametrize("effect", ["hold", "reject"])
def test_a_young_version_waits_until_it_is_old_enough(effect: str) -> None:
    age = {"days": 7, "effect": effect}
    born = NOW - timedelta(days=6, hours=23)
    young = judged(case(published_at=born), minimum_release_age=age)

    assert rules(young)[0] == ("minimum_release_age", effect)
    assert young.until == born + timedelta(days=7)
    ripe = case(published_at=NOW - timedelta(days=7))
    assert rules(judged(ripe, minimum_release_age=age)) == [AUTO]
    assert judged(ripe, minimum_release_age=age).until is None


def test_a_version_of_unknown_age_goes_to_a_person_even_where_young_ones_are_refused() -> None:
    found = judged(case(), minimum_release_age={"days": 7, "effect": "reject"})
    assert rules(found) == [("minimum_release_age", "hold"), AUTO]
    assert found.until is None


def test_a_security_fix_is_exempt_from_its_age_where_policy_says_so() -> None:
    fix = case(published_at=NOW, repairs=["GHSA-x"])
    assert rules(judged(fix, minimum_release_age={"days": 7})) == [AUTO]
    strict = {"days": 7, "exempt_security_fixes": False}
    assert rules(judged(fix, minimum_release_age=strict))[0] == ("minimum_release_age", "hold")


def test_every_rule_that_refuses_or_holds_is_named_and_refusals_come_first() -> None:
    found = judged(
        case(
            licence=licence("GPL-3.0-only"), integrity="sha1", install_scripts=["install"],
            findings=[against(Severity.CRITICAL)], denial="denied: by ada",
        ),
        install_scripts="reject",
    )  # fmt: skip
    assert rules(found) == [
        ("denied", "reject"), ("severity.reject_at", "reject"), ("install_scripts", "reject"),
        ("weak_integrity", "hold"), ("licences.avoid", "hold"),
    ]  # fmt: skip
    assert found.refusal == "denied: by ada"
