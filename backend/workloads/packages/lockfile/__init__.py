"""Lock files: what an application asks for, read from a stranger's text. Pure, no I/O."""

from backend.workloads.packages.lockfile.integrity import Integrity, parse_integrity
from backend.workloads.packages.lockfile.model import (
    Component,
    Exclusion,
    ExclusionReason,
    LockDifference,
    LockFormat,
    ParsedLock,
    WantedPackage,
)
from backend.workloads.packages.lockfile.npm import MAX_ENTRIES, parse_lock
from backend.workloads.packages.lockfile.urls import redact_text, redact_url

__all__ = [
    "MAX_ENTRIES",
    "Component",
    "Exclusion",
    "ExclusionReason",
    "Integrity",
    "LockDifference",
    "LockFormat",
    "ParsedLock",
    "WantedPackage",
    "parse_integrity",
    "parse_lock",
    "redact_text",
    "redact_url",
]
