"""What steps found, written inside the fenced commit: the fence goes first."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from backend.queue import control, leases
from backend.queue.leases import Lease
from backend.queue.writes import Write
from backend.workloads.packages import recording_sql as sql
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.model import PackageStatus, RequestPackage
from backend.workloads.packages.revetting import RETRIED, raise_priority
from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.scanning.sources import Coverage
from backend.workloads.packages.steps.download import DownloadResult
from backend.workloads.packages.steps.licence import LicenceResult
from backend.workloads.packages.steps.scan import INSPECTION, Inspected, ScanResult


def of_licence(result: LicenceResult) -> Write:
    """The registry's word as evidence, and the early verdict."""
    values = {"record": result.record.model_dump_json(), **_verdict(result)}
    return Write((sql.LICENCE,), values, sql.VERDICT)


def _verdict(result: LicenceResult | ScanResult) -> dict[str, Any]:
    return {
        "expression": result.expression,
        "tier": result.tier,
        "score": result.score,
        "policy_digest": result.policy_digest,
    }


def of_download(result: DownloadResult) -> Write:
    """The bytes are known, and nobody else's; see :func:`save_download`."""
    return Write((sql.LOCK_PACKAGE, sql.DOWNLOAD), result.model_dump())


def save_download(session: Session, lease: Lease, result: DownloadResult) -> None:
    """The bytes are known. Known already under another declared hash: the two are merged."""
    values = {**result.model_dump(), "row_id": lease.id}
    known = session.connection().exec_driver_sql(sql.MERGING, values).one()
    if known.merged_into is not None:
        _merge(session, lease, known.id, known.merged_into)


def _merge(session: Session, lease: Lease, artifact_id: int, twin: int) -> None:
    """Every request looks at the twin from now on; this queue row has nothing left to say."""
    session.execute(
        update(RequestPackage)
        .where(RequestPackage.artifact_id == artifact_id)
        .values(artifact_id=twin, type="existing")
    )
    leases.settle_one(session, leases.done(lease))
    session.execute(delete(PackageStatus).where(PackageStatus.id == lease.id))
    # It may rest withdrawn, or failed: the requests that look at it now want a verdict.
    rests = session.scalars(select(PackageStatus.id).where(PackageStatus.artifact_id == twin)).all()
    control.requeue(session, VETTING_QUEUE, rests, failures=RETRIED)
    raise_priority(session, [twin], lease.priority)


def of_inspection(result: Inspected) -> Write:
    """What the tarball itself says, as evidence for the verdict."""
    values = {"inspection": INSPECTION.dump_json(result.found).decode()}
    return Write((sql.INSPECTION,), values, answer=sql.POLICY)


def of_scan(result: ScanResult) -> Write:
    """The newest scan counts; earlier ones stay as history."""
    report = result.report
    coverage = [coverage.model_dump(mode="json") for coverage in report.coverage]
    return Write(
        (sql.SCAN,),
        {
            "advisories": json.dumps(_in_use(report.coverage)),
            "security_score": report.score,
            "scan_result": report.result,
            "coverage": json.dumps(coverage),
            "notes": list(report.notes),
            "findings": json.dumps(_lines(report.findings)),
            **_verdict(result),
        },
        sql.SCANNED,
    )


def _lines(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "advisory": finding.id,
            "aliases": finding.aliases,
            "kind": finding.kind,
            "severity": finding.severity,
            "title": finding.title,
            "fixed": finding.fixed or (),
            "source": finding.source,
            "component": finding.component,
        }
        for finding in findings
    ]


def _in_use(coverage: Sequence[Coverage]) -> list[dict[str, str]]:
    """The advisory records that a scan went by.

    A service has no digest: it is always current, and its age is judged by ADVISORY_MAX_AGE alone.
    """
    return [
        {
            "source": source.source,
            "digest": hashlib.sha256(f"{source.digest} {source.complete}".encode()).hexdigest()[
                :16
            ],
        }
        for source in coverage
        if source.digest is not None
    ]
