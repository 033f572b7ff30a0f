from typing import Any

import pytest

from backend.cli import report
from backend.queue.lifecycle import FAILURES, PROCESSING_FAILURES
from backend.workloads.packages.lifecycle import IN_VETTING, PUBLISHING_QUEUE, VETTING_QUEUE


def package(status: str = "Pending Approval", **changes: Any) -> dict[str, Any]:
    return {
        "name": "oar", "version": "1.0.0", "purl": "pkg:npm/oar@1.0.0", "status": status,
        "failure": None, "error": None, "license_identifier": "MIT", "license_status": "allowed",
        "integrity": "sha512-AAAA", "scan_result": "not covered", "findings": [], "coverage": [],
        "entries": ["node_modules/oar"], "attempts": 1, "updated_at": "2020-01-01T00:00:00Z",
    } | changes  # fmt: skip


def finding(severity: str, kind: str = "vulnerability") -> dict[str, Any]:
    return {"id": f"X-{severity}", "severity": severity, "fixed": ["2.0.0"], "kind": kind}


def detail(*packages: dict[str, Any], excluded: int = 0) -> dict[str, Any]:
    return {
        "request": {"id": 7, "application_name": "boat", "version": "1.0.0",
                    "entries": len(packages) + excluded},
        "packages": list(packages),
        "excluded": [{"entry": f"e{n}", "reason": "link", "detail": "…"} for n in range(excluded)],
        "notices": [],
    }  # fmt: skip


def test_the_words_for_what_is_finished_are_the_queues_own() -> None:
    every = {word for queue in (VETTING_QUEUE, PUBLISHING_QUEUE) for word in queue.words}

    assert every - set(IN_VETTING) == report.VETTED


def test_the_words_for_a_refusal_are_the_engines_own() -> None:
    assert set(FAILURES) - set(PROCESSING_FAILURES) == report.REFUSALS


@pytest.mark.parametrize("failure", PROCESSING_FAILURES)
def test_a_processing_failure_is_no_refusal(failure: str) -> None:
    broken = package("Rejected", failure=failure)

    assert report.failed(broken)
    assert not report.refused(broken)
    assert report.status_word(broken) == f"Failed ({failure})"


def test_a_request_is_finished_when_nothing_is_being_vetted() -> None:
    assert report.finished(detail())
    assert report.finished(detail(package(), package("Rejected", failure="policy")))
    assert not report.finished(detail(package(), package("Downloaded")))


def test_only_the_objections_that_were_asked_for_are_found() -> None:
    mixed = detail(
        package(),
        package("Rejected", failure="policy"),
        package("Recalled"),
        package("Rejected", failure="timeout"),
        package("Approved"),
    )

    assert report.objections(mixed, ("failed",)) == {"failed": 1}
    assert report.objections(mixed, report.FAIL_ON) == {"rejected": 2, "pending": 1, "failed": 1}
    assert report.objections(detail(package("Approved")), report.FAIL_ON) == {}


def test_the_result_counts_every_package_by_its_status() -> None:
    result = report.result(
        detail(package(), package("Rejected", failure="permanent"), excluded=1), 1.23456
    )

    assert result["counts"] == {"Pending Approval": 1, "Rejected": 1}
    assert result["excluded"] == [{"entry": "e0", "reason": "link"}]
    assert (result["entries"], result["seconds"], result["request_id"]) == (3, 1.235, 7)


def test_the_result_has_of_a_finding_its_id_severity_and_mended_versions() -> None:
    (told,) = report.result(detail(package(findings=[finding("high")])), 1)["packages"]

    assert told["findings"] == [{"id": "X-high", "severity": "high", "fixed": ["2.0.0"]}]


def test_findings_are_told_worst_first_and_licence_differences_left_out() -> None:
    findings = [finding(word) for word in ("low", "critical", "odd", "high", "high")]

    told = report.findings_word(package(findings=[*findings, finding("low", "licence")]))

    assert told == "1 critical 2 high 1 low 1 odd"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"scan_result": "not covered"}, "not covered"),
        ({"scan_result": "clean"}, "clean"),
        ({"scan_result": None}, "not scanned"),
        ({"scan_result": None, "status": "Requested"}, ""),
    ],
)
def test_a_package_without_findings_never_says_nothing_once_it_is_vetted(
    changes: dict[str, Any], word: str
) -> None:
    assert report.findings_word(package(**changes)) == word


@pytest.mark.parametrize(
    ("integrity", "word"),
    [("sha512-AA", "sha512"), ("sha1-AA", "sha1 weak"), ("none", "none"), ("sha384-AA", "sha384")],
)
def test_a_weak_hash_is_marked(integrity: str, word: str) -> None:
    assert report.integrity_word(package(integrity=integrity)) == word


def test_a_package_that_is_tried_again_says_so() -> None:
    waiting = package("Requested", error="the registry answered 503", attempts=1)

    assert report.status_word(waiting) == "Requested, attempt 2"
