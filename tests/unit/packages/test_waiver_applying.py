"""What a waiver covers: exactly one matter of one package, and never malware."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.workloads.packages.licences import LicencePolicy, LicenceVerdict, Tier
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.rules import Case, Judgement, Rulebook
from backend.workloads.packages.scanning.findings import Finding, Kind, Severity, npm_purl
from backend.workloads.packages.waivers.applying import Waiver, of_version, waive

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(days=30)
LICENCES = LicencePolicy(
    {
        "MIT": Tier.ALWAYS_ALLOWED, "MPL-2.0": Tier.ALLOWED, "GPL-3.0-only": Tier.AVOID,
        "AGPL-3.0-only": Tier.BLOCKED, "SSPL-1.0": Tier.BLOCKED,
    }
)  # fmt: skip


def waiver(**given: Any) -> Waiver:
    plain = Waiver(
        id=1, range="<2.0.0", finding="GHSA-1", component=None, licence=None, until=UNTIL
    )
    return replace(plain, **given)


def licence_waiver(licence: str, **given: Any) -> Waiver:
    return waiver(finding=None, licence=licence, **given)


def against(id_: str = "GHSA-1", kind: Kind = "vulnerability", **given: Any) -> Finding:
    plain = {
        "id": id_, "severity": Severity.CRITICAL, "source": "test", "kind": kind,
        "component": npm_purl("@acme/left", "1.0.0"),
    }  # fmt: skip
    return Finding(**{**plain, **given})


def judged(
    *waivers: Waiver, findings: Collection[Finding] = (), expression: str = "MIT", **sections: Any
) -> tuple[Judgement, tuple[int, ...]]:
    def licence(ids: Collection[str]) -> LicenceVerdict:
        return LICENCES.allowing(ids).judge(expression)

    waived = waive(waivers, "@acme/left", [*findings], LICENCES.judge(expression), licence)
    case = Case(
        name="@acme/left", version="1.0.0", licence=waived.licence, findings=waived.findings,
        scan_result="vulnerable", integrity="sha512", install_scripts=(), published_at=None,
        repairs=(), own_registry=False, waivers=waived.waivers,
    )  # fmt: skip
    document = PolicyDocument.model_validate({"version": 1, **sections})
    return Rulebook(document).judge(case, NOW), tuple(one.id for one in waived.waivers)


def test_a_waived_finding_refuses_nothing_and_leaves_it_to_a_person() -> None:
    judgement, used = judged(waiver(), findings=[against()], auto_approve=True)

    assert [(r.rule, r.effect) for r in judgement.rulings] == [("waivers", "hold")]
    assert judgement.rulings[0].reason == "waiver 1 covers GHSA-1, until 2026-06-19"
    assert (judgement.outcome, judgement.until, used) == ("hold", UNTIL, (1,))


@pytest.mark.parametrize(
    ("finding", "covered"),
    [
        (against(), True),
        (against("CVE-2026-1", aliases=("GHSA-1",)), True),
        (against("ghsa-1"), True),
        (against("GHSA-2"), False),
        (against("GHSA-12"), False),
        (against(kind="undetermined"), True),
        (against(kind="secret"), True),
        (against(kind="licence"), True),
        (against(kind="malware"), False),
        (against("MAL-2026-1", "malware", aliases=("GHSA-1",)), False),
        (against("MAL-2026-1", "undetermined", aliases=("GHSA-1",)), False),
        (against("GHSA-1", aliases=("CVE-2026-1", "mal-2026-1")), False),
        (against(component=npm_purl("@acme/left", "1.0.1")), True),
        (against(component=npm_purl("left", "1.0.0")), False),
        (against(component=npm_purl("@acme/Left", "1.0.0")), False),
    ],
)
def test_a_waiver_is_for_one_finding_of_one_package(finding: Finding, covered: bool) -> None:
    _, used = judged(waiver(), findings=[finding])
    assert used == ((1,) if covered else ())


def test_a_finding_in_a_bundled_package_needs_a_waiver_that_names_it() -> None:
    inside = against(component=npm_purl("minimist", "0.0.8"))
    own, bundled = waiver(), waiver(id=2, component="minimist")
    assert judged(own, findings=[inside])[1] == ()
    judgement, used = judged(own, bundled, findings=[inside])
    assert used == (2,)
    assert "GHSA-1 in minimist" in judgement.rulings[0].reason
    assert judged(bundled, findings=[against()])[1] == ()


def test_what_is_not_covered_refuses_all_the_same() -> None:
    findings = [against(), against("GHSA-2"), against("MAL-1", "malware")]
    judgement, used = judged(waiver(), findings=findings)
    reasons = [r.reason for r in judgement.rulings if r.effect == "reject"]
    assert reasons == ["known malware: MAL-1", "critical vulnerability: GHSA-2"]
    assert used == (1,)


def test_of_two_for_one_finding_the_first_counts_and_the_verdict_ends_with_the_first_to_end() -> (
    None
):
    longest = waiver(id=7, until=UNTIL + timedelta(days=5))
    assert judged(longest, waiver(), findings=[against()])[1] == (7,)
    other = waiver(id=9, finding="GHSA-2", until=UNTIL - timedelta(days=5))
    judgement, used = judged(longest, other, findings=[against(), against("GHSA-2")])
    assert used == (7, 9)
    assert judgement.until == UNTIL - timedelta(days=5)


@pytest.mark.parametrize(
    ("expression", "waived", "used", "refused"),
    [
        ("AGPL-3.0-only", ["AGPL-3.0-only"], (1,), False),
        ("AGPL-3.0-only", ["SSPL-1.0"], (), True),
        ("AGPL-3.0-only", [], (), True),
        ("AGPL-3.0-only AND MIT", ["AGPL-3.0-only"], (1,), False),
        ("AGPL-3.0-only AND SSPL-1.0", ["AGPL-3.0-only"], (), True),
        ("AGPL-3.0-only AND SSPL-1.0", ["AGPL-3.0-only", "SSPL-1.0"], (1, 2), False),
        ("AGPL-3.0-only OR SSPL-1.0", ["SSPL-1.0"], (1,), False),
        ("AGPL-3.0-or-later", ["AGPL-3.0-only"], (), False),
        ("GPL-3.0-only", ["GPL-3.0-only"], (1,), False),
        ("Made-Up", ["Made-Up"], (1,), False),
        ("MIT", ["MIT"], (), False),
        ("MIT OR AGPL-3.0-only", ["AGPL-3.0-only"], (), False),
    ],
)  # fmt: skip
def test_a_licence_waiver_is_for_one_licence_and_counts_only_where_it_matters(
    expression: str, waived: list[str], used: tuple[int, ...], refused: bool
) -> None:
    waivers = [licence_waiver(licence, id=n) for n, licence in enumerate(waived, 1)]
    judgement, counted = judged(*waivers, expression=expression)
    assert counted == used
    assert (judgement.refusal is not None) is refused
    assert ("waivers" in [r.rule for r in judgement.rulings]) is bool(used)


def test_of_two_waivers_that_would_each_do_one_counts() -> None:
    twice = [licence_waiver("AGPL-3.0-only", id=n) for n in (1, 2)]
    assert judged(*twice, expression="AGPL-3.0-only")[1] == (1,)
    either = [licence_waiver("AGPL-3.0-only"), licence_waiver("SSPL-1.0", id=2)]
    assert len(judged(*either, expression="AGPL-3.0-only OR SSPL-1.0")[1]) == 1


def test_only_waivers_of_the_version_are_taken_and_mostly_there_are_none() -> None:
    assert of_version("1.0.0", None) == ()
    row = {
        "id": 1, "range": "<2.0.0", "finding": "GHSA-1", "component": None, "licence": None,
        "until": UNTIL.isoformat(),
    }  # fmt: skip
    assert of_version("1.0.0", [row]) == (waiver(),)
    assert of_version("2.0.0", [row]) == ()
