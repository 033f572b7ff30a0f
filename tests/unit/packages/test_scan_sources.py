from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from backend.workloads.packages.scanning.findings import Component, Finding
from backend.workloads.packages.scanning.sources import (
    Coverage,
    ScanReport,
    ScanTransient,
    Source,
    SourceResult,
    scan_all,
)

NOW = datetime(2026, 1, 3, tzinfo=UTC)
DEMO = Component(name="demo", version="1.0.0")


class Answering:
    """A source that gives the answer it was made with."""

    def __init__(
        self,
        *findings: Finding,
        coverage: Coverage | None = None,
        outcome: Literal["scanned", "not-scanned"] = "scanned",
        reason: str | None = None,
    ) -> None:
        self.name = "answering"
        self.answer = SourceResult(
            source=self.name, findings=findings, coverage=coverage, outcome=outcome, reason=reason
        )

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:
        return self.answer


def coverage(*, complete: bool = True, hours: int = 1) -> Coverage:
    as_of = NOW - timedelta(hours=hours)
    return Coverage(source="answering", as_of=as_of, records=5, complete=complete)


def finding(**fields: Any) -> Finding:
    given = {"id": "GHSA-1", "severity": "critical", "source": "answering", "component": DEMO.purl}
    return Finding.model_validate(given | fields)


def report(*sources: Source) -> ScanReport:
    return scan_all(sources, [DEMO], max_age=timedelta(hours=24), now=NOW)


def test_clean_is_said_only_where_a_complete_and_fresh_source_found_nothing() -> None:
    found = report(Answering(coverage=coverage()))
    assert (found.result, found.covered, found.score, found.notes) == ("clean", True, 100, ())


@pytest.mark.parametrize(
    ("given", "note"),
    [(coverage(complete=False), "is partial"), (coverage(hours=25), "is out of date")],
)
def test_a_partial_or_stale_source_leaves_a_package_not_covered(given: Coverage, note: str) -> None:
    found = report(Answering(coverage=given))
    assert (found.result, found.covered, found.score) == ("not covered", False, None)
    assert note in found.notes[0]


def test_a_partial_source_still_convicts_without_a_score() -> None:
    found = report(Answering(finding(), coverage=coverage(complete=False)))
    assert (found.result, found.score, len(found.findings)) == ("vulnerable", None, 1)


def test_a_source_that_failed_is_never_clean_even_beside_one_that_covers() -> None:
    failed = Answering(coverage=coverage(), outcome="not-scanned", reason="it left something out")
    found = report(Answering(coverage=coverage()), failed)
    assert found.result == "not scanned"
    assert found.notes == ("answering: not scanned: it left something out",)


def test_coverage_of_a_source_that_failed_counts_for_nothing() -> None:
    found = report(Answering(coverage=coverage(), outcome="not-scanned", reason="x"))
    assert (found.result, found.covered, found.score) == ("not scanned", False, None)


def test_without_a_source_or_without_a_look_at_vulnerabilities_nothing_was_scanned() -> None:
    assert report().result == "not scanned"
    assert report().notes == ("no vulnerability source is configured",)
    assert report(Answering(reason="vulnerabilities not scanned")).result == "not scanned"


def test_findings_of_several_sources_are_merged_before_they_are_scored() -> None:
    same = finding(id="CVE-1", aliases=("GHSA-1",), severity="low")
    found = report(
        Answering(finding(severity="medium"), coverage=coverage()),
        Answering(same, coverage=coverage()),
    )
    assert (len(found.findings), found.score) == (1, 92)


def test_a_licence_matter_alone_does_not_make_a_package_vulnerable() -> None:
    assert report(Answering(finding(kind="licence"), coverage=coverage())).result == "clean"


@pytest.mark.parametrize("kind", ["undetermined", "secret", "malware", "vulnerability"])
def test_anything_else_found_is_never_clean(kind: str) -> None:
    assert report(Answering(finding(kind=kind), coverage=coverage())).result == "vulnerable"


def test_a_transient_failure_reports_nothing() -> None:
    class Failing(Answering):
        def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:
            raise ScanTransient("answering: no answer")

    with pytest.raises(ScanTransient):
        report(Answering(finding()), Failing())


def test_a_report_survives_json() -> None:
    found = report(Answering(finding(), coverage=coverage()))
    assert ScanReport.model_validate_json(found.model_dump_json()) == found
