"""Everything that makes a package suspicious, of one package."""

from collections.abc import Iterator

from backend.workloads.packages.heuristics.guarddog import Look
from backend.workloads.packages.heuristics.install_scripts import install_scripts
from backend.workloads.packages.heuristics.resemblance import resemblances
from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.scanning.inspection import Inspection
from backend.workloads.packages.snapshot import PackageSnapshot


def signs(package: PackageSnapshot, inspection: Inspection, look: Look) -> Iterator[Finding]:
    """Findings of kind ``heuristic``: by its scripts, its name and GuardDog's rules."""
    yield from install_scripts(inspection)
    yield from resemblances(package.name, package.version, package.names)
    yield from look.findings
