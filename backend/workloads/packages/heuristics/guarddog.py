"""GuardDog, a program with rules that malicious packages match, over a package's unpacked files.

Its word is evidence for a person and no more, so nothing that goes wrong with it fails a package:
it is said that it did not run, and that is never the same as that nothing matched.
"""

import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from backend.queue.confinement import limited
from backend.workloads.packages.heuristics.guarddog_report import SOURCE, Report, ReportError, read
from backend.workloads.packages.scanning import bounded_process
from backend.workloads.packages.scanning.findings import Finding, Severity
from backend.workloads.packages.scanning.inspection import printable

_MEMORY: Final = 2 * 1024**3  # bytes of address space
_OPEN_FILES: Final = 256
_OUTPUT_BYTES: Final = 16 * 1024 * 1024

# At its start it asks hosts of its own for lists of well-known names. It has no network; where the
# kernel cannot take that from it, these send it to a port where nobody listens.
_NOWHERE: Final = "http://127.0.0.1:9"
_PROXIES: Final = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE)


@dataclass(frozen=True)
class Look:
    """What it found, and in one sentence whether it looked at all."""

    findings: tuple[Finding, ...]
    note: str


NOT_CONFIGURED: Final = Look((), f"{SOURCE}: not run, GUARDDOG_BINARY is not set")


class _Broken(Exception):
    """It did not look; the message says why."""


class GuardDog:
    """The program.

    Args:
        binary: its path.
        timeout: of one package, after which its process group is killed.
    """

    def __init__(self, binary: str, *, timeout: timedelta) -> None:
        self._binary = binary
        self._timeout = timeout

    def look(self, directory: Path, *, artifact: str) -> Look:
        """Look at the unpacked files of one package; whatever happens, that is told.

        Args:
            directory: holds the files.
            artifact: the package's purl.
        """
        try:
            report = read(self._run(directory), artifact=artifact)
        except (_Broken, bounded_process.ProcessLimitError, ReportError) as error:
            return Look((_unseen(artifact, str(error)),), f"{SOURCE}: not run, {error}")
        findings = report.findings
        if report.failed:
            findings = (*findings, _unseen(artifact, f"rules failed: {_some(report)}"))
        return Look(findings, _said(report))

    def _run(self, directory: Path) -> bytes:
        try:
            # Where no space is left, there is no folder either.
            with tempfile.TemporaryDirectory(prefix="lockkeeper-guarddog-") as home:
                done = bounded_process.run(
                    self._limited(directory),
                    environment={"HOME": home, "TMPDIR": home, "PATH": "", **_PROXIES},
                    directory=Path(home),
                    timeout=self._timeout.total_seconds(),
                    output_bytes=_OUTPUT_BYTES,
                )
        except OSError as error:
            raise _Broken(f"it cannot be started ({error.strerror})") from None
        if done.exit_code != 0:
            last = (done.errors.strip().splitlines() or ["it said nothing"])[-1]
            raise _Broken(f"exit code {done.exit_code}: {printable(last, limit=300)}")
        return done.output

    def _limited(self, directory: Path) -> list[str]:
        """It opens a stranger's files within a sandbox of its own, or not at all."""
        program = [self._binary, "--log-level", "ERROR", "npm", "scan", "--output-format", "json"]
        return limited(
            [*program, "--sandbox", str(directory.absolute())],
            memory=_MEMORY,
            files=_OPEN_FILES,
            seconds=self._timeout.total_seconds() * (os.cpu_count() or 1),
            network=False,
        )


def _unseen(artifact: str, why: str) -> Finding:
    """A package that it could not look at has a person look at it."""
    return Finding(
        id=f"{SOURCE}:not-run", severity=Severity.LOW, title=f"GuardDog did not look: {why}",
        source=SOURCE, component=artifact, kind="heuristic",
    )  # fmt: skip


def _said(report: Report) -> str:
    matched = len(report.findings) or "none"
    failed = f"; {len(report.failed)} failed: {_some(report)}" if report.failed else ""
    return f"{SOURCE}: run, {matched} of {report.rules} rules matched{failed}"


def _some(report: Report) -> str:
    return ", ".join(report.failed[:5])
