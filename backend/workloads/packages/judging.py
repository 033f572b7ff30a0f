"""What a scan found of one package, as the case that policy judges."""

from datetime import datetime

from backend.workloads.packages.policies.rules import Case
from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.scanning.inspection import Inspection
from backend.workloads.packages.scanning.sources import ScanReport
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.waivers.applying import Waived


def case_of(
    package: PackageSnapshot,
    inspection: Inspection,
    report: ScanReport,
    waived: Waived[Finding],
    *,
    own_registry: bool,
) -> Case:
    """One case.

    Args:
        waived: the strictest licence of all that speak of one; the report's findings, and what
            its licences differ in; both without what waivers cover.
        own_registry: packages come from a registry of one's own.
    """
    published_at = (package.registry_record or {}).get("published_at")
    return Case(
        name=package.name,
        version=package.version,
        licence=waived.licence,
        findings=waived.findings,
        scan_result=report.result,
        integrity=(package.integrity or "none").partition("-")[0],
        install_scripts=_install_scripts(inspection),
        published_at=datetime.fromisoformat(published_at) if published_at else None,
        repairs=report.repairs,
        own_registry=own_registry,
        denial=package.denied,
        waivers=waived.waivers,
    )


def _install_scripts(inspection: Inspection) -> list[str]:
    """What npm would run, of the package itself and of those that it bundles."""
    bundled = [component for component in inspection.components if component.bundled]
    return [
        *inspection.install_scripts,
        *(f"{script} of {c.name}" for c in bundled for script in c.install_scripts),
    ]
