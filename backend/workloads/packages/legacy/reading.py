"""From a predecessor's rows to ours, each by itself: pure functions of what a row holds."""

import hashlib
import json
import re
from base64 import b64encode
from typing import Any, Final

from backend.identity.roles import Role
from backend.queue.lifecycle import FAILURES
from backend.workloads.packages.legacy import columns, words
from backend.workloads.packages.legacy.columns import LeftOut, Row
from backend.workloads.packages.legacy.source import Fields
from backend.workloads.packages.licences import Tier
from backend.workloads.packages.lockfile.coordinates import npm_purl, valid_name, valid_version
from backend.workloads.packages.lockfile.integrity import parse_integrity
from backend.workloads.packages.lockfile.redaction import redacted
from backend.workloads.packages.lockfile.urls import redact_text

LARGEST_ID: Final = 2**40  # a larger one is not kept: numbers must not run out
_FINDINGS_SHOWN: Final = 100
_USERNAME: Final = 64  # characters
_WORD: Final = 100  # characters, of what is looked up
# What a sign-in may be made to cost by a hash that was not made here: 1 GB and 99 passes.
_ARGON2: Final = re.compile(
    r"\$argon2id\$v=19\$m=[1-9]\d{0,5},t=[1-9]\d?,p=[1-9]\d?\$[\w+/]{6,128}\$[\w+/]{6,128}",
    re.ASCII,
)
_BYTEA: Final = re.compile(r"\\x(?:[0-9a-f]{2})*")  # as JSON shows it
_YES: Final = (None, True, 1, "1", "t", "true", "y", "yes", "active", "enabled")
_SEVERITIES: Final = ("critical", "high", "medium", "low", "info")


def user(row: Row) -> Fields:
    """Without a password that works here: an admin sets one, or it is the same kind of hash."""
    password = str(columns.first(row, "password_hash", "password") or "")
    role = "admin" if row.get("is_admin") is True else str(row.get("role") or "").lower()
    return {
        "id": columns.own_number(row),
        "username": _username(row),
        "role": role if role in set(Role) else Role.USER,
        "active": _active(row),
        "password_hash": password if _ARGON2.fullmatch(password) else "none",
        "created_at": columns.moment(row.get("created_at")) or "epoch",
    }


def licence(row: Row) -> Fields:
    identifier = columns.text(row, "identifier", "spdx_id")
    if not identifier or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 .+-]{0,199}", identifier):
        raise LeftOut("not an SPDX identifier")
    status = str(row.get("status") or "")
    if status not in set(Tier):
        raise LeftOut("not one of our tiers")
    return {
        "id": columns.own_number(row),
        "name": columns.text(row, "name") or identifier,
        "identifier": identifier,
        "status": status,
    }


def request(row: Row) -> Fields:
    raw = columns.first(
        row, "raw_request_blob", "raw_lock", "lock", "lock_file", "package_lock_file"
    )
    content, lock_format = _lock(raw)
    return {
        "id": columns.own_number(row),
        "requestor": columns.reference(row, "requestor_id", "user_id"),
        "requestor_name": columns.text(row, "requestor"),
        "application_name": (columns.text(row, "application_name", "name") or "unnamed")[:255],
        "version": (columns.text(row, "version", "application_version") or "0.0.0")[:255],
        "lock": b64encode(content).decode(),
        "lock_format": (columns.text(row, "lock_format", "format") or lock_format)[:_WORD],
        "created_at": columns.moment(row.get("created_at")) or "epoch",
        "withdrawn_at": columns.moment(row.get("withdrawn_at")),
    }


def package(row: Row) -> Fields:
    name, version = columns.text(row, "name") or "", columns.text(row, "version") or ""
    if (columns.text(row, "ecosystem") or "npm") != "npm":
        raise LeftOut("not an npm package")
    if not valid_name(name) or not valid_version(version):
        raise LeftOut("npm allows no such name and version")
    return {
        "id": columns.own_number(row),
        "name": name,
        "version": version,
        "purl": npm_purl(name, version),
        "created_at": columns.moment(row.get("created_at")),
    }


def integrity(row: Row) -> str:
    """What a lock declared of the bytes; "" for nothing that is usable."""
    return parse_integrity(columns.text(row, "integrity") or "").canonical or ""


def status(row: Row, licence_claim: str | None) -> Fields:
    """``there`` is the predecessor's own word."""
    there = columns.text(row, "status") or ""
    failure = columns.text(row, "failure")
    rejector = columns.reference(row, "rejector_id", "rejected_by")
    stands = words.standing(
        there,
        failure=failure if failure in FAILURES else None,
        by_person=rejector is not None,
        published=row.get("publish_status") == "published" or bool(row.get("published_at")),
    )
    judged = stands.status != "Requested"
    tier = columns.text(row, "license_status", "license_tier")
    return {
        "id": columns.reference(row, "id", "package_id"),
        "there": there,
        "status": stands.status,
        "failure": stands.failure,
        "error": _error(row, there) if stands.failure else None,
        "license_identifier": (columns.text(row, "license_identifier") or licence_claim)
        if judged
        else None,
        "license_status": tier if judged and tier in set(Tier) else None,
        "license_score": columns.score(row.get("license_score")) if judged else None,
        "security_score": columns.score(row.get("security_score")) if judged else None,
        "approver": columns.reference(row, "approver_id", "approved_by"),
        "rejector": rejector,
        "digest": _digest(row),
        "created_at": columns.moment(row.get("created_at")),
        "updated_at": columns.moment(
            columns.first(row, "updated_at", "published_at", "created_at")
        ),
    }


def link(row: Row) -> Fields:
    """How a request needs a package; where in the lock is only known where it was written down."""
    kind = columns.first(row, "package_type", "type")
    entries = columns.document(columns.first(row, "entries", "paths"))
    return {
        "type": kind if kind in ("new", "existing") else "existing",
        "entries": [str(entry) for entry in entries] if isinstance(entries, list) else [],
        "dev": row.get("dev") is True,
        "optional": row.get("optional") is True,
    }


def decisions_of(status: Fields, artifact: str) -> list[Fields]:
    """What the columns of a status say that somebody decided; the one that stands comes last."""
    people = {"reject": status["rejector"], "approve": status["approver"]}
    if status["status"] == "Rejected":
        people = dict(reversed(people.items()))
    return [
        {
            "id": status["id"], "artifact": artifact, "decision": decision, "decided_by": person,
            "reason": None, "decided_at": status["updated_at"],
        }
        for decision, person in people.items()
        if person is not None
    ]  # fmt: skip


def decision(row: Row) -> Fields:
    """Raises LeftOut for a word that is none of ours."""
    word = {"approved": "approve", "rejected": "reject", "recalled": "recall"}
    said = (columns.text(row, "decision", "action") or "").lower()
    if (meant := word.get(said, said)) not in word.values():
        raise LeftOut("not one of our decisions")
    return {
        "id": columns.reference(row, "id"),
        "decision": meant,
        "decided_by": columns.reference(row, "decided_by", "user_id", "approver_id"),
        "reason": columns.prose(row, "reason"),
        "decided_at": columns.moment(columns.first(row, "decided_at", "created_at")),
    }


def scan(row: Row) -> Fields:
    """What its scanner said, as notes: nobody here saw the bytes that it looked at."""
    counts = {word: row.get(f"{word}_count") for word in _SEVERITIES}
    tool = " ".join(
        filter(None, (columns.text(row, "scan_type"), columns.text(row, "trivy_version")))
    )
    found = ", ".join(f"{n} {word}" for word, n in counts.items() if isinstance(n, int) and n)
    said = f"before the move {tool or 'a scanner'} found {found or 'nothing'}"
    return {
        "id": columns.reference(row, "id"),
        "notes": [said, *_findings(columns.document(row.get("scan_result")))],
        "scanned_at": columns.moment(columns.first(row, "completed_at", "scanned_at", "created_at"))
        or "epoch",
    }


def audit_entry(row: Row) -> Fields:
    kind = (
        (columns.text(row, "resource_type", "subject_type") or "").lower().removesuffix("s")[:_WORD]
    )
    action = re.sub(r"[^a-z0-9_.-]+", "_", (columns.text(row, "action") or "").lower())[:_WORD]
    return {
        "id": columns.own_number(row),
        "actor": columns.reference(row, "user_id", "actor_id"),
        "action": f"legacy.{action}",
        "kind": kind or "legacy",
        "resource": columns.reference(row, "resource_id", "subject_id"),
        "details": _details(row, kind),
        "at": columns.moment(columns.first(row, "created_at", "at", "timestamp")) or "epoch",
    }


def _active(row: Row) -> bool:
    """Who is not plainly active is not: an account is opened by an admin in a moment."""
    said = columns.first(row, "active", "is_active")
    word = said.lower() if isinstance(said, str) else said
    return word in _YES and row.get("deleted_at") is None


def _username(row: Row) -> str:
    said = str(columns.first(row, "username", "email", "name") or "")
    plain = re.sub(r"[^A-Za-z0-9._@+-]", "-", said).lstrip("._@+-")[:_USERNAME]
    return plain or f"user-{row.get('id')}"


def _lock(raw: Any) -> tuple[bytes, str]:
    """The lock as it may be kept, and its format; what is not JSON is kept as text."""
    if raw is None:
        return b"", "unknown"
    content = raw if isinstance(raw, str) else json.dumps(raw)
    if _BYTEA.fullmatch(content):
        content = bytes.fromhex(content[2:]).decode(errors="replace")
    try:
        document = json.loads(content)
        kept = redacted(content.encode())
    except (ValueError, RecursionError):
        return redact_text(content).encode(), "unknown"
    number = document.get("lockfileVersion") if isinstance(document, dict) else None
    known = type(number) is int and number in (1, 2, 3)
    return kept, f"npm-lock-v{number}" if known else "unknown"


def _error(row: Row, there: str) -> str:
    said = columns.prose(row, "error", "error_message", "rejection_reason")
    return (said or f"before the move: {there}").splitlines()[0][:500]


def _digest(row: Row) -> str:
    """One word for what was decided upon there: no verdict of ours has it."""
    facts = json.dumps({"legacy": dict(row)}, sort_keys=True, default=str)
    return hashlib.sha256(facts.encode()).hexdigest()


def _findings(report: Any) -> list[str]:
    """One line for each vulnerability of a report in Trivy's form."""
    results = report.get("Results") if isinstance(report, dict) else None
    lines = []
    for result in results if isinstance(results, list) else ():
        listed = result.get("Vulnerabilities") if isinstance(result, dict) else None
        for found in listed if isinstance(listed, list) else ():
            if isinstance(found, dict):
                said = (found.get(n) for n in ("VulnerabilityID", "Severity", "PkgName"))
                lines.append(" ".join(str(word) for word in said if word)[:300])
    return lines[:_FINDINGS_SHOWN]


def _details(row: Row, kind: str) -> str | None:
    """None of what was done to people: their names have no place in a log that only grows."""
    value = None if kind == "user" else columns.first(row, "details", "detail")
    text = value if isinstance(value, str | None) else json.dumps(value)
    return text and redact_text(text)
