"""Which licence counts."""

from typing import Any

import pytest

from backend.workloads.packages.licences import LicencePolicy, Tier
from backend.workloads.packages.scanning.findings import Severity
from backend.workloads.packages.scanning.inspection import (
    BundledManifest,
    Inspection,
    LicenceFile,
)
from backend.workloads.packages.scanning.sources import DetectedLicence
from backend.workloads.packages.verdict import judge_licences

POLICY = LicencePolicy(
    {
        "MIT": Tier.ALWAYS_ALLOWED, "ISC": Tier.ALWAYS_ALLOWED, "MPL-2.0": Tier.ALLOWED,
        "GPL-3.0-only": Tier.AVOID, "AGPL-3.0-only": Tier.BLOCKED,
    }
)  # fmt: skip


def inspected(licence: str | None = "MIT", **found: Any) -> Inspection:
    nothing: dict[str, Any] = {
        "install_scripts": {}, "dependencies": {}, "optional_dependencies": {}, "bin": {},
        "licence_files": (), "components": (), "members": 1, "unpacked_bytes": 1,
    }  # fmt: skip
    return Inspection(name="left", version="1.0.0", licence=licence, **{**nothing, **found})


def text(identified: str | None, name: str = "LICENSE") -> LicenceFile:
    return LicenceFile(name, sha256="", text="", identified=identified)


def component(licence: str | None, *, bundled: bool) -> BundledManifest:
    return BundledManifest("inner", "1.0.0", "x/package.json", licence, bundled, {})


def judged(registry: str | None, found: Inspection, **more: Any) -> tuple[Tier | None, list[str]]:
    verdict, findings = judge_licences(POLICY, registry, found, **more)
    return verdict.tier, [finding.id for finding in findings]


@pytest.mark.parametrize(
    ("registry", "manifest", "tier", "differs"),
    [
        ("MIT", "MIT", Tier.ALWAYS_ALLOWED, False),
        ("MIT OR ISC", "ISC OR MIT", Tier.ALWAYS_ALLOWED, False),
        ("MIT", "GPL-3.0-only", Tier.AVOID, True),
        ("GPL-3.0-only", "MIT", Tier.AVOID, True),
        ("AGPL-3.0-only", "MIT", Tier.BLOCKED, True),
        (None, "MIT", None, True),
        ("MIT", None, None, True),
        (None, None, None, False),
        ("Made-Up", "MIT", None, True),
        ("Made-Up", "AGPL-3.0-only", Tier.BLOCKED, True),
    ],
)
def test_the_stricter_of_registry_and_manifest_counts(
    registry: str | None, manifest: str | None, tier: Tier | None, differs: bool
) -> None:
    expected = ["licence-differs-from-registry"] if differs else []
    assert judged(registry, inspected(manifest)) == (tier, expected)


@pytest.mark.parametrize(
    ("manifest", "identified", "tier", "differs"),
    [
        ("MIT", "MIT", Tier.ALWAYS_ALLOWED, False),
        ("MIT", None, Tier.ALWAYS_ALLOWED, False),
        ("(MIT OR GPL-3.0-only)", "GPL-3.0-only", Tier.ALWAYS_ALLOWED, False),
        ("GPL-3.0-or-later", "GPL-3.0-only", None, False),
        ("GPL-3.0+", "GPL-3.0-only", None, False),
        ("mit", "MIT", Tier.ALWAYS_ALLOWED, False),
        ("MPL 2.0", "MPL-2.0", Tier.ALLOWED, False),
        ("MIT", "GPL-3.0-only", Tier.AVOID, True),
        ("MIT", "AGPL-3.0-only", Tier.BLOCKED, True),
        ("GPL-3.0-only", "MIT", Tier.AVOID, True),
        (None, "MIT", None, True),
    ],
)
def test_a_licence_text_that_the_manifest_does_not_name_counts_and_is_a_finding(
    manifest: str | None, identified: str | None, tier: Tier | None, differs: bool
) -> None:
    found = inspected(manifest, licence_files=(text(identified),))
    expected = ["licence-text:LICENSE"] if differs else []
    assert judged(manifest, found) == (tier, expected)


def test_a_name_that_only_begins_alike_is_not_the_manifests_licence() -> None:
    found = inspected("MIT-0", licence_files=(text("MIT"),))
    assert judged("MIT-0", found)[1] == ["licence-text:LICENSE"]


@pytest.mark.parametrize(
    ("licence", "bundled", "tier"),
    [
        ("AGPL-3.0-only", True, Tier.BLOCKED),
        ("AGPL-3.0-only", False, Tier.BLOCKED),
        (None, True, None),
        (None, False, Tier.ALWAYS_ALLOWED),
    ],
)
def test_a_bundled_packages_licence_counts_in_its_parent(
    licence: str | None, bundled: bool, tier: Tier | None
) -> None:
    found = inspected(components=(component(licence, bundled=bundled),))
    assert judged("MIT", found) == (tier, [])


def test_a_licence_that_a_scanner_saw_in_a_file_counts_and_one_of_a_manifest_does_not() -> None:
    file = DetectedLicence(name="GPL-3.0-only", package="", path="src/COPYING")
    manifest = DetectedLicence(name="GPL-3.0-only", package="left", path="package.json")

    assert judged("MIT", inspected(), detected=[file]) == (
        Tier.AVOID, ["licence-text:src/COPYING"],
    )  # fmt: skip
    assert judged("MIT", inspected(), detected=[manifest]) == (Tier.ALWAYS_ALLOWED, [])


def test_licence_findings_are_low_and_of_their_own_kind() -> None:
    _, (finding,) = judge_licences(POLICY, "ISC", inspected())
    assert (finding.kind, finding.severity) == ("licence", Severity.LOW)
    assert finding.component == "pkg:npm/left@1.0.0"
    assert finding.title == "the registry says 'ISC', the file 'MIT'"
