"""Reading Trivy's JSON report (schema version 2) into findings, licences and what it looked at."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.workloads.packages.scanning.findings import Finding, Severity, npm_purl
from backend.workloads.packages.scanning.inspection import printable
from backend.workloads.packages.scanning.sources import DetectedLicence

_SCHEMA_VERSION = 2
_SEVERITIES = {word.value.upper(): word for word in Severity}


class ReportError(Exception):
    """The output is not a report in the documented form; the message names what is wrong."""


@dataclass(frozen=True)
class Report:
    """``packages``: (name, version) of everything the scanner says it looked at."""

    findings: tuple[Finding, ...]
    licences: tuple[DetectedLicence, ...]
    packages: frozenset[tuple[str, str]]


def read(raw: bytes, *, artifact: str, source: str) -> Report:
    """Read one report.

    Args:
        raw: standard output.
        artifact: purl of what was scanned; secrets belong to it.
        source: name to give as each finding's source.

    Raises:
        ReportError: not JSON, not a report, or a part that cannot be understood.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise ReportError("the output is not JSON") from None
    if not isinstance(document, dict) or document.get("SchemaVersion") != _SCHEMA_VERSION:
        raise ReportError("the output is not a report of schema version 2")
    results = _objects(document, "Results")
    return Report(
        findings=tuple(
            found for result in results for found in _findings(result, artifact, source)
        ),
        licences=tuple(seen for result in results for seen in _licences(result)),
        packages=frozenset(pair for result in results for pair in _packages(result)),
    )


def _findings(result: dict[str, Any], artifact: str, source: str) -> Iterator[Finding]:
    for entry in _objects(result, "Vulnerabilities"):
        yield _vulnerability(entry, source)
    target = printable(_text(result, "Target")) if result.get("Secrets") else ""
    for entry in _objects(result, "Secrets"):
        yield _secret(entry, target, artifact, source)


def _vulnerability(entry: dict[str, Any], source: str) -> Finding:
    vendor_ids = entry.get("VendorIDs") or []
    if not isinstance(vendor_ids, list):
        raise ReportError("VendorIDs is not a list")
    identifier = printable(_text(entry, "VulnerabilityID"))
    fixed = str(entry.get("FixedVersion") or "")
    aliases = {printable(str(i)) for i in vendor_ids} - {identifier}
    malware = any(name.startswith("MAL-") for name in (identifier, *aliases))
    title = entry.get("Title")
    return Finding(
        id=identifier,
        aliases=tuple(sorted(aliases)),
        severity=Severity.CRITICAL if malware else _severity(entry),
        title=printable(title, limit=200) if isinstance(title, str) and title else None,
        fixed=tuple(v for part in fixed.split(",") if (v := printable(part.strip()))) or None,
        source=source,
        component=npm_purl(_text(entry, "PkgName"), _text(entry, "InstalledVersion")),
        kind="malware" if malware else "vulnerability",
    )


def _secret(entry: dict[str, Any], target: str, artifact: str, source: str) -> Finding:
    """Rule and place only: the report quotes neighbouring lines, which may hold other secrets."""
    rule = printable(_text(entry, "RuleID"))
    line = entry.get("StartLine")
    place = f"{target}:{line if isinstance(line, int) else 0}"
    title = entry.get("Title")
    return Finding(
        id=f"secret:{rule}:{place}",
        severity=_severity(entry),
        title=f"{printable(title, limit=100) if isinstance(title, str) else rule} in {place}",
        source=source,
        component=artifact,
        kind="secret",
    )


def _licences(result: dict[str, Any]) -> Iterator[DetectedLicence]:
    for entry in _objects(result, "Licenses"):
        yield DetectedLicence(
            name=printable(_text(entry, "Name")),
            package=printable(str(entry.get("PkgName") or "")),
            path=printable(str(entry.get("FilePath") or "")),
        )


def _packages(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in _objects(result, "Packages"):
        yield _text(entry, "Name"), str(entry.get("Version") or "")


def _severity(entry: dict[str, Any]) -> Severity:
    return _SEVERITIES.get(str(entry.get("Severity")), Severity.UNKNOWN)


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ReportError(f"{key} is not a list of objects")
    return value


def _text(holder: dict[str, Any], key: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str) or not value:
        raise ReportError(f"{key} is missing")
    return value
