from typing import Any

import pytest

from backend.workloads.packages.scanning.findings import Finding, Severity
from backend.workloads.packages.verdict_digest import verdict_digest


def finding(identifier: str = "GHSA-1", **changes: Any) -> Finding:
    members = {
        "id": identifier, "severity": Severity.HIGH, "title": "broken", "source": "osv",
        "component": "pkg:npm/left@1.0.0", "kind": "vulnerability",
    }  # fmt: skip
    return Finding(**{**members, **changes})


GIVEN: dict[str, Any] = {
    "sha512": "ab" * 64,
    "expression": "MIT",
    "tier": "allowed",
    "findings": [finding(), finding("GHSA-2")],
    "scan_result": "clean",
    "policy_digest": "p1",
    "waivers": [1, 2],
}


def digest(**changes: Any) -> str:
    return verdict_digest(**{**GIVEN, **changes})


def test_it_is_the_same_for_the_same_verdict_in_any_order() -> None:
    assert digest() == digest(findings=[finding("GHSA-2"), finding()], waivers=[2, 1])
    assert digest() == digest(findings=[finding(title="other words"), finding("GHSA-2"), finding()])
    assert len(digest()) == 64


def test_it_stays_the_same_from_release_to_release() -> None:
    """Stored approvals name it: another one would void them all."""
    assert digest() == "b0e5bdb24e5f67b38c42826bee78ee34b49751656701e7974735e7036554f103"


@pytest.mark.parametrize(
    "changes",
    [
        {"sha512": "cd" * 64}, {"expression": "ISC"}, {"expression": None}, {"tier": "avoid"},
        {"findings": []}, {"findings": [finding()]},
        {"findings": [finding(severity=Severity.LOW), finding("GHSA-2")]},
        {"findings": [finding(component="pkg:npm/left@1.0.1"), finding("GHSA-2")]},
        {"findings": [finding(kind="malware"), finding("GHSA-2")]},
        {"scan_result": "partial"}, {"policy_digest": "p2"}, {"waivers": [1]},
    ],
)  # fmt: skip
def test_it_is_another_one_for_any_other_verdict(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()
