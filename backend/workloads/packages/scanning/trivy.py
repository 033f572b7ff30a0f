"""Trivy as a subprocess: secrets and licences of files, vulnerabilities of a component list.

``trivy fs`` is never used: on an unpacked package it finds nothing and says all is well. Nothing
the package ships can steer the scan: every file Trivy would look for in its working directory is
named explicitly, the working directory is empty, and the environment is built here.
"""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.queue.breaker import Breakers, host_of
from backend.queue.confinement import limited
from backend.workloads.packages.scanning import bounded_process, trivy_report
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.inspection import printable
from backend.workloads.packages.scanning.sources import (
    Coverage,
    ScanTransient,
    ServiceDown,
    SourceResult,
)
from backend.workloads.packages.semver import parse

_FOUND_SOMETHING = 3  # 1 is Trivy's word for "I broke"
_EXPECTED = frozenset((0, _FOUND_SOMETHING))
_MEMORY = 4 * 1024**3  # bytes of address space; its database is mapped whole
_OPEN_FILES = 256
_OUTPUT_BYTES = 32 * 1024 * 1024
_RULES = "disable-allow-rules: [vendor]\n"  # what is bundled is installed, so it is looked at
# How the program says that its server cannot be reached or answered 429 or 5xx: the error codes of
# Twirp, the protocol between them. Others (bad_route, permission_denied …) are answers.
_SERVER_DOWN = re.compile(
    r"twirp error (internal|unavailable|unknown|deadline_exceeded|resource_exhausted)\b"
)
_DATABASE = Path("db", "trivy.db")
_DATABASE_FACTS = Path("db", "metadata.json")


@dataclass(frozen=True)
class _Workspace:
    """Files of ours, and an empty directory to run in."""

    config: Path
    ignore: Path
    secrets: Path
    sbom: Path
    empty: Path


class TrivyBinary:
    """The ``trivy`` program as a source.

    Args:
        binary: its path.
        cache_dir: holds ``db/trivy.db`` where the operator put one; nothing is ever downloaded.
        server_url: of a ``trivy server`` that answers for vulnerabilities; ``http`` or ``https``.
        timeout: of one run, after which its process group is killed.
        complete: the operator declares that the database is the whole one.
        breakers: the server's own is among them.
    """

    def __init__(
        self,
        binary: str,
        cache_dir: Path,
        *,
        server_url: str | None = None,
        timeout: timedelta = timedelta(minutes=5),
        complete: bool = False,
        name: str = "trivy",
        breakers: Breakers | None = None,
    ) -> None:
        if server_url is not None and urlsplit(server_url).scheme not in {"http", "https"}:
            raise ValueError("the Trivy server's URL must be http:// or https://")
        self._binary = binary
        self._cache_dir = cache_dir.absolute()
        self._server_url = server_url
        self._breaker = (breakers or Breakers()).of(host_of(server_url)) if server_url else None
        self._timeout = timeout
        self._complete = complete
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:
        """See :class:`Source`. The first component is the artifact that ``directory`` holds.

        Raises:
            ScanTransient: it could not be started, was killed at a limit, broke, or answered
                nonsense; ServiceDown where its server is to blame.
            CircuitOpen: its server is failing and is not asked for now.
        """
        able = self._server_url is not None or (self._cache_dir / _DATABASE).is_file()
        reports: list[trivy_report.Report] = []
        left_out: list[Component] = []
        with _workspace() as workspace:
            if directory is not None:
                reports.append(self._rootfs(workspace, components[0], directory))
                left_out += _absent((c for c in components if _loadable(c)), reports[-1])
            if able:
                reports.append(self._sbom(workspace, components))
                left_out += _absent(components, reports[-1])
        return SourceResult(
            source=self._name,
            findings=tuple(found for report in reports for found in report.findings),
            licences=tuple(seen for report in reports for seen in report.licences),
            coverage=self._coverage() if able else None,
            outcome="not-scanned" if left_out else "scanned",
            reason=_reason(left_out, able=able),
        )

    def _rootfs(
        self, workspace: _Workspace, artifact: Component, directory: Path
    ) -> trivy_report.Report:
        """Secrets and licences of files; needs neither a database nor a server."""
        arguments = [
            "rootfs", "--scanners", "secret,license",
            "--secret-config", str(workspace.secrets), str(directory.absolute()),
        ]  # fmt: skip
        return self._run(workspace, arguments, artifact)

    def _sbom(self, workspace: _Workspace, components: Sequence[Component]) -> trivy_report.Report:
        workspace.sbom.write_text(json.dumps(cyclonedx(components)))
        server = [] if self._server_url is None else ["--server", self._server_url]
        arguments = ["sbom", "--scanners", "vuln", *server, str(workspace.sbom)]
        with self._breaker.guard(ServiceDown) if self._breaker else nullcontext():
            return self._run(workspace, arguments, components[0])

    def _run(
        self, workspace: _Workspace, arguments: Sequence[str], artifact: Component
    ) -> trivy_report.Report:
        command, *rest = arguments
        try:
            done = bounded_process.run(
                self._limited([self._binary, command, *self._common(workspace), *rest]),
                environment={"HOME": str(workspace.empty), "PATH": ""},
                directory=workspace.empty,
                timeout=self._timeout.total_seconds(),
                output_bytes=_OUTPUT_BYTES,
            )
            if done.exit_code not in _EXPECTED:
                raise self._failure(done)
            return trivy_report.read(done.output, artifact=artifact.purl, source=self._name)
        except OSError as error:
            raise self._broken(f"it cannot be started ({error.strerror})") from None
        except bounded_process.TooSlowError as error:
            raise ServiceDown(str(self._broken(str(error)))) from None
        except bounded_process.ProcessLimitError as error:
            raise self._broken(str(error)) from None
        except trivy_report.ReportError as error:
            raise self._broken(str(error)) from None

    def _limited(self, program: Sequence[str]) -> list[str]:
        """Only a server that it must ask needs the network."""
        if not os.access(self._binary, os.X_OK):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return limited(
            program,
            memory=_MEMORY,
            files=_OPEN_FILES,
            seconds=self._timeout.total_seconds() * (os.cpu_count() or 1),
            network=self._server_url is not None,
        )

    def _common(self, workspace: _Workspace) -> list[str]:
        database = [] if self._server_url else ["--skip-db-update", "--skip-java-db-update"]
        return [
            "--config", str(workspace.config),
            "--ignorefile", str(workspace.ignore),
            "--cache-dir", str(self._cache_dir),
            "--format", "json",
            "--exit-code", str(_FOUND_SOMETHING),
            "--timeout", f"{max(1, int(self._timeout.total_seconds()))}s",
            "--list-all-pkgs", "--offline-scan", "--skip-version-check", "--disable-telemetry",
            *database,
        ]  # fmt: skip

    def _failure(self, done: bounded_process.Finished) -> ScanTransient:
        last = (done.errors.strip().splitlines() or ["it said nothing"])[-1]
        if down := _SERVER_DOWN.search(last):
            shown = printable(last[down.start() :], limit=300)
            return ServiceDown(f"{self._name}: not scanned, its server failed: {shown}")
        return self._broken(f"exit code {done.exit_code}: {printable(last, limit=300)}")

    def _broken(self, why: str) -> ScanTransient:
        return ScanTransient(f"{self._name}: not scanned, {why}")

    def _coverage(self) -> Coverage:
        """The database's own date; a server's cannot be asked for, so it can only convict."""
        as_of = None
        if self._server_url is None:
            as_of = _updated_at(self._cache_dir / _DATABASE_FACTS)
        return Coverage(source=self._name, as_of=as_of, records=None, complete=self._complete)


def cyclonedx(components: Sequence[Component]) -> dict[str, Any]:
    """A CycloneDX 1.6 document that lists the components, each once."""
    distinct = {component.purl: component for component in components}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [
            {"type": "library", "bom-ref": purl, "purl": purl, **_named(component)}
            for purl, component in distinct.items()
        ],
    }


def _named(component: Component) -> dict[str, str]:
    scope, slash, name = component.name.rpartition("/")
    group = {"group": scope} if slash else {}
    return {**group, "name": name, "version": component.version}


def _loadable(component: Component) -> bool:
    """The artifact, or what npm would load from it; fixtures may bear names no scanner takes."""
    return component.path is None or "node_modules" in component.path.split("/")


def _absent(components: Iterable[Component], report: trivy_report.Report) -> list[Component]:
    seen = {(name, parse(version) or version) for name, version in report.packages}
    return [c for c in components if (c.name, parse(c.version) or c.version) not in seen]


def _reason(left_out: Sequence[Component], *, able: bool) -> str | None:
    reasons = []
    if not able:
        reasons.append("vulnerabilities not scanned: there is no database and no server")
    if left_out:
        reasons.append(f"it left out {left_out[0].purl} and {len(left_out) - 1} more")
    return "; ".join(reasons) or None


def _updated_at(facts: Path) -> datetime | None:
    try:
        read = datetime.fromisoformat(json.loads(facts.read_bytes())["UpdatedAt"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


@contextmanager
def _workspace() -> Iterator[_Workspace]:
    with tempfile.TemporaryDirectory(prefix="lockkeeper-trivy-") as root:
        place = Path(root)
        workspace = _Workspace(
            place / "config.yaml",
            place / "ignore",
            place / "secrets.yaml",
            place / "components.cdx.json",
            place / "empty",
        )
        workspace.config.touch()
        workspace.ignore.touch()
        workspace.secrets.write_text(_RULES)
        workspace.empty.mkdir()
        yield workspace
