"""What became of one request, from the API's answer about it. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

Json = Mapping[str, Any]
"""A JSON object of the API: a request's detail, or one of its packages."""

REFUSALS: Final = frozenset({"policy", "human", "cancelled"})
"""``failure`` of what was judged; any other one means that the processing failed."""

VETTED: Final = frozenset(
    {"Pending Approval", "Approved", "Publishing", "Published", "Rejected", "Recalled"}
)
"""Statuses that vetting no longer works on."""

SEVERITIES: Final = ("critical", "high", "medium", "low")
FAIL_ON: Final = ("rejected", "pending", "failed")


def failed(package: Json) -> bool:
    """Whether its processing failed, which is no verdict."""
    return package["failure"] is not None and package["failure"] not in REFUSALS


def refused(package: Json) -> bool:
    return package["status"] in {"Rejected", "Recalled"} and not failed(package)


def vetted(package: Json) -> bool:
    return package["status"] in VETTED


def finished(detail: Json) -> bool:
    """Whether every package has its verdict."""
    return all(vetted(package) for package in detail["packages"])


def objections(detail: Json, fail_on: Iterable[str]) -> dict[str, int]:
    """How many packages are what ``fail_on`` (words of FAIL_ON) forbids; only what there is."""
    found = Counter(word for package in detail["packages"] for word in _sorts(package))
    return {word: found[word] for word in fail_on if found[word]}


def _sorts(package: Json) -> list[str]:
    sorts = {
        "rejected": refused(package),
        "pending": package["status"] == "Pending Approval",
        "failed": failed(package),
    }
    return [word for word, applies in sorts.items() if applies]


def result(detail: Json, seconds: float) -> dict[str, Any]:
    """The machine-readable result; every entry of the lock is in it exactly once.

    An entry is in the ``entries`` of one package or is one exclusion. ``integrity`` is what the
    lock names, ``seconds`` the time from the submission to the last verdict.
    """
    request = detail["request"]
    return {
        "request_id": request["id"],
        "application": {"name": request["application_name"], "version": request["version"]},
        "entries": request["entries"],
        "packages": [_package(package) for package in detail["packages"]],
        "excluded": [{"entry": e["entry"], "reason": e["reason"]} for e in detail["excluded"]],
        "counts": dict(Counter(package["status"] for package in detail["packages"])),
        "seconds": round(seconds, 3),
    }


def _package(package: Json) -> dict[str, Any]:
    told = (
        "name", "version", "purl", "status", "failure", "error", "license_identifier", "integrity",
    )  # fmt: skip
    findings = [
        {"id": finding["id"], "severity": finding["severity"], "fixed": finding["fixed"]}
        for finding in package["findings"]
    ]
    return {
        **{name: package[name] for name in told},
        "findings": findings,
        "coverage": package["coverage"],
        "entries": package["entries"],
    }


def integrity_word(package: Json) -> str:
    """The algorithm of the hash that the lock names; sha1 is marked as weak."""
    algorithm = str(package["integrity"]).partition("-")[0]
    return "sha1 weak" if algorithm == "sha1" else algorithm


def severities(package: Json) -> dict[str, int]:
    """Vulnerabilities and malware by severity, worst first; licence differences left out."""
    found = Counter(f["severity"] for f in package["findings"] if f["kind"] != "licence")
    return {
        word: found[word] for word in (*SEVERITIES, *(set(found) - set(SEVERITIES))) if found[word]
    }


def findings_word(package: Json) -> str:
    """``2 critical 1 high``, or what the scan says of a package without any: never just nothing."""
    found = " ".join(f"{number} {word}" for word, number in severities(package).items())
    if found:
        return found
    return str(package["scan_result"] or ("" if not vetted(package) else "not scanned"))


def status_word(package: Json) -> str:
    """The status, but with what a processing failure is called instead of ``Rejected``."""
    if failed(package):
        return f"Failed ({package['failure']})"
    if package["status"] == "Requested" and package["error"]:
        return f"Requested, attempt {package['attempts'] + 1}"
    return str(package["status"])


def tally(detail: Json) -> dict[str, int]:
    """Packages by status, failures told apart from refusals, the most frequent first."""
    words = Counter("Failed" if failed(p) else str(p["status"]) for p in detail["packages"])
    return dict(words.most_common())
