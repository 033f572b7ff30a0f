"""From a predecessor's rows to ours, each by itself: pure functions of what a row holds.

Predecessors named some columns differently; the first name that is there counts. Moments without
a time zone are UTC, as they were written.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from backend.identity.roles import Role
from backend.queue.lifecycle import FAILURES
from backend.workloads.packages.legacy import words
from backend.workloads.packages.legacy.source import Fields
from backend.workloads.packages.licences import Tier
from backend.workloads.packages.lockfile.coordinates import npm_purl, valid_name, valid_version
from backend.workloads.packages.lockfile.integrity import parse_integrity
from backend.workloads.packages.lockfile.redaction import redacted
from backend.workloads.packages.lockfile.urls import redact_text

Row = Mapping[str, Any]

LARGEST_ID: Final = 2**40  # a larger one is not kept: numbers must not run out
_FINDINGS_SHOWN: Final = 100
_USERNAME: Final = 64  # characters
_SEVERITIES: Final = ("critical", "high", "medium", "low", "info")


class LeftOut(Exception):
    """A row that has no place here; the message says why, the same for all of its kind."""


def user(row: Row) -> Fields:
    """Without a password that works here: an admin sets one, or it is the same kind of hash."""
    password = str(_first(row, "password_hash", "password") or "")
    role = "admin" if row.get("is_admin") is True else str(row.get("role") or "").lower()
    return {
        "id": _number(row),
        "username": _username(row),
        "role": role if role in set(Role) else Role.USER,
        "active": _first(row, "active", "is_active") is not False,
        "password_hash": password if password.startswith("$argon2id$") else "none",
        "created_at": moment(row.get("created_at")),
    }


def licence(row: Row) -> Fields:
    identifier = _text(row, "identifier", "spdx_id")
    if not identifier or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 .+-]{0,199}", identifier):
        raise LeftOut("not an SPDX identifier")
    status = str(row.get("status") or "")
    if status not in set(Tier):
        raise LeftOut("not one of our tiers")
    return {
        "id": _number(row),
        "name": _text(row, "name") or identifier,
        "identifier": identifier,
        "status": status,
    }


def request(row: Row) -> Fields:
    raw = _first(row, "raw_request_blob", "raw_lock", "lock", "lock_file", "package_lock_file")
    content, lock_format = _lock(raw)
    return {
        "id": _number(row),
        "requestor": _id(row, "requestor_id", "user_id"),
        "requestor_name": _text(row, "requestor"),
        "application_name": (_text(row, "application_name", "name") or "unnamed")[:255],
        "version": (_text(row, "version", "application_version") or "0.0.0")[:255],
        "lock": b64encode(content).decode(),
        "lock_format": _text(row, "lock_format", "format") or lock_format,
        "created_at": moment(row.get("created_at")) or "epoch",
        "withdrawn_at": moment(row.get("withdrawn_at")),
    }


def package(row: Row) -> Fields:
    name, version = _text(row, "name") or "", _text(row, "version") or ""
    if (_text(row, "ecosystem") or "npm") != "npm":
        raise LeftOut("not an npm package")
    if not valid_name(name) or not valid_version(version):
        raise LeftOut("npm allows no such name and version")
    return {
        "id": _number(row),
        "name": name,
        "version": version,
        "purl": npm_purl(name, version),
        "created_at": moment(row.get("created_at")),
    }


def integrity(row: Row) -> str:
    """What a lock declared of the bytes; "" for nothing that is usable."""
    return parse_integrity(_text(row, "integrity") or "").canonical or ""


def status(row: Row, licence_claim: str | None) -> Fields:
    """``there`` is the predecessor's own word."""
    there = _text(row, "status") or ""
    failure = _text(row, "failure")
    rejector = _id(row, "rejector_id", "rejected_by")
    stands = words.standing(
        there,
        failure=failure if failure in FAILURES else None,
        by_person=rejector is not None,
        published=row.get("publish_status") == "published" or bool(row.get("published_at")),
    )
    judged = stands.status != "Requested"
    tier = _text(row, "license_status", "license_tier")
    return {
        "id": _id(row, "id", "package_id"),
        "there": there,
        "status": stands.status,
        "failure": stands.failure,
        "error": _error(row, there) if stands.failure else None,
        "license_identifier": (_text(row, "license_identifier") or licence_claim)
        if judged
        else None,
        "license_status": tier if judged and tier in set(Tier) else None,
        "license_score": _score(row.get("license_score")) if judged else None,
        "security_score": _score(row.get("security_score")) if judged else None,
        "approver": _id(row, "approver_id", "approved_by"),
        "rejector": rejector,
        "digest": _digest(row),
        "created_at": moment(row.get("created_at")),
        "updated_at": moment(_first(row, "updated_at", "published_at", "created_at")),
    }


def link(row: Row) -> Fields:
    """How a request needs a package; where in the lock is only known where it was written down."""
    kind, entries = _first(row, "package_type", "type"), _first(row, "entries", "paths")
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
    said = (_text(row, "decision", "action") or "").lower()
    if (meant := word.get(said, said)) not in word.values():
        raise LeftOut("not one of our decisions")
    return {
        "id": _id(row, "id"),
        "decision": meant,
        "decided_by": _id(row, "decided_by", "user_id", "approver_id"),
        "reason": _prose(row, "reason"),
        "decided_at": moment(_first(row, "decided_at", "created_at")),
    }


def scan(row: Row) -> Fields:
    """What its scanner said, as notes: nobody here saw the bytes that it looked at."""
    counts = {word: row.get(f"{word}_count") or 0 for word in _SEVERITIES}
    tool = " ".join(filter(None, (_text(row, "scan_type"), _text(row, "trivy_version"))))
    found = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    said = f"before the move {tool or 'a scanner'} found {found or 'nothing'}"
    return {
        "id": _id(row, "id"),
        "notes": [said, *_findings(row.get("scan_result"))],
        "scanned_at": moment(_first(row, "completed_at", "scanned_at", "created_at")),
    }


def audit_entry(row: Row) -> Fields:
    kind = (_text(row, "resource_type", "subject_type") or "").lower().removesuffix("s")
    return {
        "id": _number(row),
        "actor": _id(row, "user_id", "actor_id"),
        "action": f"legacy.{re.sub(r'[^a-z0-9_.-]+', '_', (_text(row, 'action') or '').lower())}",
        "kind": kind or "legacy",
        "resource": _id(row, "resource_id", "subject_id"),
        "details": _details(row, kind),
        "at": moment(_first(row, "created_at", "at", "timestamp")),
    }


def moment(value: Any) -> str | None:
    """A moment as RFC 3339; None where nothing usable was kept."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def reference(row: Row, *names: str) -> int | None:
    """The number of another row."""
    return _id(row, *names)


def _number(row: Row) -> int:
    """The row's own number."""
    number = _id(row, "id")
    if number is None:
        raise LeftOut("it has no number")
    return number


def _first(row: Row, *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(row: Row, *names: str) -> str | None:
    value = _first(row, *names)
    return str(value) if value not in (None, "") else None


def _prose(row: Row, *names: str) -> str | None:
    """Text that people wrote, less what could be a secret in a URL."""
    said = _text(row, *names)
    return said and redact_text(said)


def _id(row: Row, *names: str) -> int | None:
    value = _first(row, *names)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value < 2**63 else None


def _score(value: Any) -> int | None:
    return value if isinstance(value, int) and value in range(101) else None


def _username(row: Row) -> str:
    said = str(_first(row, "username", "email", "name") or "")
    plain = re.sub(r"[^A-Za-z0-9._@+-]", "-", said).lstrip("._@+-")[:_USERNAME]
    return plain or f"user-{row.get('id')}"


def _lock(raw: Any) -> tuple[bytes, str]:
    """The lock as it may be kept, and its format; what is not JSON is kept as text."""
    if raw is None:
        return b"", "unknown"
    content = raw if isinstance(raw, str) else json.dumps(raw)
    if content.startswith("\\x"):  # a bytea, as JSON shows it
        content = bytes.fromhex(content[2:]).decode(errors="replace")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return redact_text(content).encode(), "unknown"
    number = document.get("lockfileVersion") if isinstance(document, dict) else None
    return redacted(content.encode()), f"npm-lock-v{number}" if number in (1, 2, 3) else "unknown"


def _error(row: Row, there: str) -> str:
    said = _prose(row, "error", "error_message", "rejection_reason")
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
    value = None if kind == "user" else _first(row, "details", "detail")
    text = value if isinstance(value, str | None) else json.dumps(value)
    return text and redact_text(text)
