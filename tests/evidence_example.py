"""What the database answers about a request of any size, made without one."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from backend.workloads.packages.evidence.collected import Evidence, collected
from backend.workloads.packages.evidence.stored_lock import Json
from backend.workloads.packages.lockfile import ParsedLock, WantedPackage, parse_lock
from backend.workloads.packages.scanning.findings import Finding, Severity
from backend.workloads.packages.verdict_digest import verdict_digest

HOST: Final = "registry.example.test"
POLICY_DIGEST: Final = "5e" * 32
_MOMENT: Final = "2026-01-02T03:04:05.000000Z"
_INNER: Final = {
    "name": "inner", "version": "2.0.0", "path": "node_modules/inner/package.json", "licence": "ISC"
}  # fmt: skip
_EVERY: Final = 7  # packages: one has a finding, another bundles something, a third has flags


def parsed(lock: bytes) -> ParsedLock:
    return parse_lock(lock, filename=None, origins=frozenset({HOST}), max_bytes=2**28)


def example(lock: bytes, *, licences: tuple[str | None, ...] = ("MIT",)) -> Evidence:
    """Of a lock whose packages were all vetted; licences are given out in turn."""
    return collected(7, answer(lock, licences=licences))


def answer(lock: bytes, *, licences: tuple[str | None, ...] = ("MIT",)) -> list[Any]:
    """The columns of ``reading.EVIDENCE``."""
    found = parsed(lock)
    lines = [
        line(number, package, licences[number % len(licences)])
        for number, package in enumerate(found.packages, 1)
    ]
    exclusions = [
        {"entry": it.entry, "reason": it.reason, "detail": it.detail} for it in found.exclusions
    ]
    policy = {"digest": POLICY_DIGEST, "version": None, "licence_tiers": {"MIT": "allowed"}}
    documents = [*zip(*lines, strict=True)] or [(), (), (), (), ()]
    parts, packages, licence, findings, decisions = map(json.dumps, documents)
    return [
        7, found.application_name or "unnamed", found.application_version or "0.0.0",
        found.format, found.entries,
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), False, "ada", {"Pending Approval": len(lines)},
        "2026-01-02T03:04:06.123456Z", memoryview(found.redacted), parts,
        json.dumps(exclusions), "[]", packages, licence, findings, decisions,
        json.dumps(policy), json.dumps({"seal": None}),
    ]  # fmt: skip


def line(number: int, package: WantedPackage, licence: str | None) -> tuple[Json, ...]:
    """One package whose bytes were seen, with a decision about it: an element of each document."""
    sha512 = hashlib.sha512(f"{package.name} {package.version}".encode()).hexdigest()
    findings = [_finding(package)] if number % _EVERY == 0 else []
    told = [_told(finding) for finding in findings]
    flags = _flags(package) if number % _EVERY == 2 else []
    digest = verdict_digest(
        sha512=sha512, expression=licence, tier="allowed", findings=findings,
        scan_result="vulnerable", policy_digest=POLICY_DIGEST,
    )  # fmt: skip
    named = {
        "id": number, "name": package.name, "version": package.version, "purl": package.purl
    }  # fmt: skip
    asked = {
        "integrity": package.integrity or "", "entries": list(package.entries),
        "dev": package.dev, "optional": package.optional, "license_claim": package.license_claim,
    }  # fmt: skip
    bundled = [_INNER] if number % _EVERY == 1 else None
    part = {
        **named, "sha512": sha512, "asked": [asked], "dev": package.dev,
        "optional": package.optional, "status": "Pending Approval", "scan_result": "vulnerable",
        "concluded": licence, "declared": licence, "inspected": True, "bundled": bundled,
        "advisories": told or None, "standing": flags[:1] or None,
    }  # fmt: skip
    document = {
        **named, "status": "Pending Approval", "failure": None, "error": None, "asked": [asked],
        "bytes": {"sha512": sha512, "size": 1000, "checked": "sha512", "registry_agrees": True},
        "verdict": {
            "license_identifier": licence, "license_status": "allowed", "license_score": 80,
            "security_score": 85, "scan_result": "vulnerable", "rulings": [],
            "policy_digest": POLICY_DIGEST, "advisories_digest": "abc", "verdict_digest": digest,
            "vetted_at": _MOMENT,
        },
        "inspection": {
            "components": bundled or [], "install_scripts": {}, "suppression_files": [],
            "notices": [], "members": 9, "unpacked_bytes": 4096, "dependencies": {}, "bin": {},
        },
        "registry": {"name": package.name, "license_expression": licence},
    }  # fmt: skip
    said = {
        **named, "expression": licence, "tier": "allowed", "score": 80, "manifest": licence,
        "registry": licence, "bundled": bundled,
        "files": [{"name": "LICENSE", "sha256": "ab" * 32, "identified": licence}],
    }  # fmt: skip
    scan = {"result": "vulnerable", "score": 85, "coverage": [], "notes": [], "findings": told}
    approval = {"decision": "approve", "decided_by": "carol", "reason": None}
    return (
        part, document, said, {**named, "scan": {**scan, "scanned_at": _MOMENT}, "flags": flags},
        {**named, **approval, "verdict_digest": digest, "decided_at": _MOMENT},
    )  # fmt: skip


def _finding(package: WantedPackage) -> Finding:
    return Finding(
        id="GHSA-aaaa-bbbb-cccc", aliases=("CVE-2026-0001",), severity=Severity.HIGH,
        title="It is broken.", fixed=("9.9.9",), source="osv", component=package.purl,
    )  # fmt: skip


def _told(finding: Finding) -> Json:
    told = finding.model_dump(mode="json")
    return {"advisory": told.pop("id"), **told}


def _flags(package: WantedPackage) -> list[Json]:
    """One that stands, and one of an advisory that was withdrawn."""
    flag = {
        "advisory": "GHSA-late", "aliases": ["CVE-2026-0002"], "kind": "vulnerability",
        "severity": "unknown", "title": None, "fixed": ["9.9.9"], "source": "feed",
        "component": package.purl, "withdrawn": False, "since": _MOMENT, "stands": True,
        "lifted_at": None, "lifted_because": None,
    }  # fmt: skip
    lifted = {"stands": False, "lifted_at": _MOMENT, "lifted_because": "withdrawn"}
    return [flag, {**flag, "advisory": "GHSA-gone", "aliases": [], "withdrawn": True, **lifted}]
