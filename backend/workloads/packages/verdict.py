"""The verdict's rules: which licence counts, and what refuses a package. Pure functions."""

from collections.abc import Iterable, Sequence

from backend.workloads.packages.licences import (
    LicencePolicy,
    LicenceVerdict,
    differ,
    names_of,
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
        if not _member(spoken, inspection.licence):
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


def _member(identifier: str, expression: str | None) -> bool:
    """Whether a licence text is of one of the licences that the expression names anyway."""
    return _bare(identifier) in map(_bare, names_of(expression))


def _bare(identifier: str) -> str:
    """Without what no licence text can tell: "only" from "or later"."""
    return identifier.casefold().removesuffix("-only").removesuffix("-or-later").removesuffix("+")


def _difference(identifier: str, purl: str, title: str) -> Finding:
    return Finding(
        id=identifier, severity=Severity.LOW, title=title, source="lockkeeper",
        component=purl, kind="licence",
    )  # fmt: skip


def _said(expression: str | None) -> str:
    return f"{expression[:200]!r}" if expression else "nothing"


def refusal(licence: LicenceVerdict, findings: Sequence[Finding]) -> str | None:
    """Why policy refuses the package, in one sentence; None where it may go to a person.

    A blocked licence, a malware record and a critical vulnerability refuse.
    """
    if licence.blocked:
        return f"licence blocked by policy: {licence.reason}"
    malware = [finding for finding in findings if finding.kind == "malware"]
    if malware:
        return f"known malware: {_ids(malware)}"
    critical = [
        finding
        for finding in findings
        if finding.kind == "vulnerability" and finding.severity is Severity.CRITICAL
    ]
    return f"critical vulnerability: {_ids(critical)}" if critical else None


def _ids(findings: Sequence[Finding]) -> str:
    shown = ", ".join(finding.id for finding in findings[:5])
    return shown if len(findings) <= 5 else f"{shown} and {len(findings) - 5} more"  # noqa: PLR2004
