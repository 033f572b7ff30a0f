"""Signs of malice as findings, and that none of them ever refuses a package."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.packages.heuristics.install_scripts import install_scripts
from backend.workloads.packages.heuristics.resemblance import resemblances
from backend.workloads.packages.licences import LicencePolicy, Tier
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.rules import Case, Judgement, Rulebook
from backend.workloads.packages.scanning.findings import Finding, Severity, merge
from backend.workloads.packages.scanning.inspection import BundledManifest, Inspection

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
MIT = LicencePolicy({"MIT": Tier.ALWAYS_ALLOWED}).judge("MIT")

EMPTY = Inspection(
    name="demo", version="1.0.0", licence="MIT", install_scripts={}, dependencies={},
    optional_dependencies={}, bin={}, licence_files=(), components=(), members=1,
    unpacked_bytes=512,
)  # fmt: skip


def bundled(name: str, path: str, *, inside: bool = True, **scripts: str) -> BundledManifest:
    return BundledManifest(
        name=name, version="2.0.0", path=path, licence="MIT", bundled=inside,
        install_scripts=scripts,
    )  # fmt: skip


def names(asked: Sequence[str] = (), approved: Sequence[str] = ()) -> dict[str, Any]:
    return {"asked": [*asked], "approved": [*approved]}


def test_install_scripts_are_findings_with_their_commands() -> None:
    found = replace(
        EMPTY,
        install_scripts={"preinstall": "node a.js", "install": "node-gyp rebuild"},
        components=(
            bundled("@s/in", "node_modules/@s/in/package.json", postinstall="curl x | sh"),
            bundled("fixture", "test/package.json", inside=False, postinstall="never run"),
        ),
    )
    assert [(f.id, f.component, f.title) for f in install_scripts(found)] == [
        ("install-script:preinstall", "pkg:npm/demo@1.0.0", "npm runs on install: node a.js"),
        ("install-script:install", "pkg:npm/demo@1.0.0", "npm runs on install: node-gyp rebuild"),
        ("install-script:postinstall", "pkg:npm/%40s/in@2.0.0",
         "npm runs on install: curl x | sh"),
    ]  # fmt: skip
    assert {f.kind for f in install_scripts(found)} == {"heuristic"}
    assert list(install_scripts(EMPTY)) == []


def test_a_long_command_is_cut() -> None:
    (found,) = install_scripts(replace(EMPTY, install_scripts={"install": "x" * 5000}))
    assert found.title is not None
    assert len(found.title) < 400


def test_a_name_that_resembles_others_says_which_and_where_they_stand() -> None:
    found = list(
        resemblances("expres", "1.0.0", names(["expresz", "koa"], ["express", "expert", "koa"]))
    )
    assert [(f.id, f.title) for f in found] == [
        ("similar-name:express",
         "its name differs by a missing character from express, which is approved here"),
        ("similar-name:expresz",
         "its name differs by a missing character from expresz, which the same lock asks for"),
    ]  # fmt: skip
    assert {(f.kind, f.severity, f.component) for f in found} == {
        ("heuristic", "medium", "pkg:npm/expres@1.0.0")
    }


def test_a_name_that_is_approved_here_is_the_one_that_others_imitate() -> None:
    assert list(resemblances("express", "5.0.0", names(["expres"], ["express", "expresz"]))) == []


def test_a_name_that_was_compared_with_none_is_not_suspected() -> None:
    assert list(resemblances("express", "5.0.0", None)) == []
    assert list(resemblances("express", "5.0.0", names())) == []


def test_no_more_than_some_are_named_and_those_that_are_approved_first() -> None:
    others = [f"packag{letter}" for letter in "abcdefgh"]
    found = [f.id for f in resemblances("package", "1.0.0", names(others[:6], others[6:]))]
    assert found == [f"similar-name:packag{letter}" for letter in "ghabc"]


def test_signs_of_several_kinds_stay_findings_of_their_own() -> None:
    found = [
        *install_scripts(replace(EMPTY, install_scripts={"install": "a", "preinstall": "b"})),
        *resemblances("demo", "1.0.0", names(["deom", "demos"])),
    ]
    assert len(merge(found)) == len(found) == 4
    assert {f.kind for f in merge(found)} == {"heuristic"}


def sign(id_: str, severity: Severity) -> Finding:
    return Finding(
        id=id_, severity=severity, source="lockkeeper", component="pkg:npm/a@1", kind="heuristic"
    )


IDS = st.sampled_from(
    ["guarddog:threat-a", "guarddog:not-run", "similar-name:b", "install-script:install"]
)
SIGNS = st.lists(st.builds(sign, IDS, st.sampled_from(list(Severity))), max_size=4)
WORDS = st.sampled_from(["hold", "reject"])
POLICIES = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "severity": st.sampled_from(
            [{"reject_at": "low", "hold_at": "low"}, {"reject_at": "critical", "hold_at": "high"}]
        ),
        "install_scripts": st.sampled_from(["allow", "hold", "reject"]),
        "auto_approve": st.booleans(),
    }
)
FINDINGS = st.lists(
    st.builds(
        Finding,
        id=st.just("X-1"),
        severity=st.sampled_from(list(Severity)),
        source=st.just("test"),
        component=st.just("pkg:npm/a@1"),
        kind=st.sampled_from(["vulnerability", "malware", "secret", "licence", "undetermined"]),
    ),
    max_size=2,
)


def judged(
    policy: dict[str, Any], findings: list[Finding], scripts: Sequence[str] = ()
) -> Judgement:
    case = Case(
        name="a", version="1.0.0", licence=MIT, findings=findings, scan_result="clean",
        integrity="sha512", install_scripts=scripts, published_at=None, repairs=(),
        own_registry=True,
    )  # fmt: skip
    return Rulebook(PolicyDocument.model_validate(policy)).judge(case, NOW)


@given(POLICIES, FINDINGS, SIGNS, st.booleans())
@settings(max_examples=50)
def test_no_sign_under_any_policy_refuses_what_would_not_be_refused_without_it(
    policy: dict[str, Any], findings: list[Finding], signs: list[Finding], scripted: bool
) -> None:
    scripts = ["install"] if scripted else []
    without = judged(policy, findings, scripts)
    with_them = judged(policy, [*findings, *signs], scripts)
    assert with_them.refusal == without.refusal
    assert [r for r in with_them.rulings if r.effect == "reject"] == [
        r for r in without.rulings if r.effect == "reject"
    ]


@pytest.mark.parametrize(
    ("id_", "rules"),
    [
        ("guarddog:threat-a", [("heuristics", "hold")]),
        ("guarddog:not-run", [("heuristics", "hold")]),
        ("similar-name:b", [("heuristics", "hold")]),
        # Install scripts have a rule of their own, which a policy may switch off.
        ("install-script:install", [("auto_approve", "approve")]),
    ],
)
def test_what_is_suspected_is_never_approved_without_a_person(
    id_: str, rules: list[tuple[str, str]]
) -> None:
    policy = {"version": 1, "auto_approve": True, "install_scripts": "allow"}
    judgement = judged(policy, [sign(id_, Severity.CRITICAL)])
    assert [(ruling.rule, ruling.effect) for ruling in judgement.rulings] == rules
