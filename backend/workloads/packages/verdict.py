"""Which licence counts. Pure functions."""

from collections.abc import Iterable, Sequence

from backend.workloads.packages.licences import (
    LicencePolicy,
    LicenceVerdict,
    differ,
    member_of,
    stricter,
)
from backend.workloads.packages.scanning.findings import Finding, Severity, npm_purl
from backend.workloads.packages.scanning.inspection import Inspection
from backend.workloads.packages.scanning.sources import DetectedLicence


def judge_licences(
    policy: LicencePolicy,
    registry_word: str | None,
    inspection: Inspection,
    detected: Sequence[DetectedLicence] = (),
) -> tuple[LicenceVerdict, list[Finding]]:
    """The strictest of all that speaks of a licence; each difference is a finding.

    Speakers: the tarball's own manifest, the registry, licence texts at the root that are no
    member of the manifest's expression, every bundled package's manifest, and what a scanner
    detected.
    """
    purl = npm_purl(inspection.name, inspection.version)
    verdict = policy.judge(inspection.licence)
    findings: list[Finding] = []
    if differ(registry_word, inspection.licence):
        verdict = stricter(verdict, policy.judge(registry_word))
        findings.append(
            _difference(
                "licence-differs-from-registry", purl,
                f"the registry says {_said(registry_word)}, the file {_said(inspection.licence)}",
            )
        )  # fmt: skip
    for name, spoken in _texts(inspection, detected):
        if not member_of(spoken, inspection.licence):
            verdict = stricter(verdict, policy.judge(spoken))
            findings.append(
                _difference(
                    f"licence-text:{name}", purl,
                    f"{name} holds {spoken}, the manifest says {_said(inspection.licence)}",
                )
            )  # fmt: skip
    for component in inspection.components:
        # A manifest outside node_modules that says nothing is a test's fixture, not a package.
        if component.bundled or component.licence is not None:
            verdict = stricter(verdict, policy.judge(component.licence))
    return verdict, findings


def _texts(
    inspection: Inspection, detected: Iterable[DetectedLicence]
) -> Iterable[tuple[str, str]]:
    for file in inspection.licence_files:
        if file.identified is not None:
            yield file.name, file.identified
    for seen in detected:
        if not seen.package:
            yield seen.path, seen.name


def _difference(identifier: str, purl: str, title: str) -> Finding:
    return Finding(
        id=identifier, severity=Severity.LOW, title=title, source="lockkeeper",
        component=purl, kind="licence",
    )  # fmt: skip


def _said(expression: str | None) -> str:
    return f"{expression[:200]!r}" if expression else "nothing"
