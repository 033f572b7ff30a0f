"""What npm would run when it installs a package."""

from collections.abc import Iterator, Mapping

from backend.workloads.packages.policies.rules import INSTALL_SCRIPT
from backend.workloads.packages.scanning.findings import Finding, Severity, npm_purl
from backend.workloads.packages.scanning.inspection import Inspection, printable

_SHOWN = 300  # characters of a command


def install_scripts(found: Inspection) -> Iterator[Finding]:
    """A finding for each script, of the package and of those that it bundles."""
    yield from _of(npm_purl(found.name, found.version), found.install_scripts)
    for component in found.components:
        if component.bundled:
            purl = npm_purl(component.name, component.version)
            yield from _of(purl, component.install_scripts)


def _of(purl: str, scripts: Mapping[str, str]) -> Iterator[Finding]:
    for script, command in scripts.items():
        yield Finding(
            id=f"{INSTALL_SCRIPT}{script}",
            severity=Severity.LOW,
            title=f"npm runs on install: {printable(command, limit=_SHOWN)}",
            source="lockkeeper",
            component=purl,
            kind="heuristic",
        )
