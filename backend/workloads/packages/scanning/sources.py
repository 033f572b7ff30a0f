"""One interface over everything that knows about vulnerabilities, and what its word is worth."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from backend.workloads.packages.scanning.findings import Component, Finding, Frozen, merge
from backend.workloads.packages.scanning.score import security_score

_CLOCK_SKEW = timedelta(minutes=5)


class ScanTransient(Exception):
    """A source did not answer, or not sensibly: nothing was scanned, another attempt may do."""


class ServiceDown(ScanTransient):
    """The service behind a source cannot be reached, or says itself that it cannot answer.

    Args:
        retry_after: how long it asked us to wait; None = it did not say.
    """

    def __init__(self, detail: str, retry_after: timedelta | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Coverage(Frozen):
    """What a source can speak for.

    Attributes:
        as_of: when its knowledge was current; None when it cannot say.
        records: advisories it holds for the ecosystem; None when it cannot say.
        complete: it claims to hold everything known; a partial source can only convict.
        broken: names of records that could not be read (at most 100).
        digest: of the records' bytes; None for a service, which is always current.
    """

    source: str
    ecosystem: str = "npm"
    as_of: datetime | None
    records: int | None
    complete: bool
    broken: tuple[str, ...] = ()
    digest: str | None = None

    def age(self, now: datetime) -> timedelta | None:
        return None if self.as_of is None else now - self.as_of

    def covers(self, now: datetime, max_age: timedelta) -> bool:
        """Only a complete source covers, and only while fresh; a date in the future is no date."""
        age = self.age(now)
        return self.complete and age is not None and -_CLOCK_SKEW <= age <= max_age


class DetectedLicence(Frozen):
    """A licence a scanner saw: evidence for the licence verdict, not a finding.

    Attributes:
        package: name of the package whose manifest names it; empty for a licence file.
        path: of that file, below the scanned directory.
    """

    name: str
    package: str
    path: str


class SourceResult(Frozen):
    """One source's answer.

    Attributes:
        coverage: None where it did not look for vulnerabilities.
        outcome: ``scanned`` only if it ran, answered sensibly and accounted for every component.
        reason: why it did not scan, or what it left out.
        repairs: advisories that the first component's version is the repair of, where it can tell.
    """

    source: str
    findings: tuple[Finding, ...] = ()
    licences: tuple[DetectedLicence, ...] = ()
    coverage: Coverage | None = None
    outcome: Literal["scanned", "not-scanned"] = "scanned"
    reason: str | None = None
    repairs: tuple[str, ...] = ()


class Source(Protocol):
    """Something that can be asked about components."""

    @property
    def name(self) -> str:
        """A short word for reports; without commas."""

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:
        """Say what is known about each component.

        Args:
            components: of one artifact: itself first, then what is bundled.
            directory: its unpacked files, where there are any.

        Raises:
            ScanTransient: it could not be asked now.
        """


class ScanReport(Frozen):
    """All sources' answers about one artifact.

    Attributes:
        result: ``vulnerable``; ``not scanned`` if a source failed or none looked for
            vulnerabilities; ``not covered`` if no complete and fresh source did; else ``clean``.
        notes: one sentence for everything that was not done.
        repairs: advisories that the artifact's own version is the repair of.
    """

    findings: tuple[Finding, ...]
    licences: tuple[DetectedLicence, ...]
    coverage: tuple[Coverage, ...]
    covered: bool
    score: int | None
    result: Literal["vulnerable", "clean", "not covered", "not scanned"]
    notes: tuple[str, ...]
    repairs: tuple[str, ...] = ()


def scan_all(
    sources: Sequence[Source],
    components: Sequence[Component],
    *,
    directory: Path | None = None,
    max_age: timedelta,
    now: datetime | None = None,
) -> ScanReport:
    """Ask every source about the components of one artifact.

    Raises:
        ScanTransient: from a source; nothing is reported then, so that the attempt is repeated.
    """
    now = now or datetime.now(UTC)
    results = [source.scan(components, directory) for source in sources]
    findings = merge(finding for result in results for finding in result.findings)
    coverage = tuple(result.coverage for result in results if result.coverage)
    failed = not coverage or any(result.outcome == "not-scanned" for result in results)
    covered = any(
        result.outcome == "scanned" and result.coverage and result.coverage.covers(now, max_age)
        for result in results
    )
    return ScanReport(
        findings=findings,
        licences=tuple(dict.fromkeys(seen for result in results for seen in result.licences)),
        coverage=coverage,
        covered=covered,
        score=security_score(findings, covered=covered),
        result=_result(findings, covered=covered, failed=failed),
        notes=_notes(results, now, max_age),
        repairs=tuple(sorted({name for result in results for name in result.repairs})),
    )


def _result(
    findings: Sequence[Finding], *, covered: bool, failed: bool
) -> Literal["vulnerable", "clean", "not covered", "not scanned"]:
    if any(finding.kind != "licence" for finding in findings):
        return "vulnerable"
    if failed:
        return "not scanned"
    return "clean" if covered else "not covered"


def _notes(results: Sequence[SourceResult], now: datetime, max_age: timedelta) -> tuple[str, ...]:
    if not results:
        return ("no vulnerability source is configured",)
    notes = []
    for result in results:
        if result.reason:
            said = "not scanned: " if result.outcome == "not-scanned" else ""
            notes.append(f"{result.source}: {said}{result.reason}")
        if result.coverage and not result.coverage.covers(now, max_age):
            why = "is out of date" if result.coverage.complete else "is partial"
            notes.append(f"{result.source}: {why}, what it does not name is not covered")
    return tuple(notes)
