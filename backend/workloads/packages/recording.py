"""What steps found, written inside the fenced commit: the fence goes first."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from backend.queue import control, leases
from backend.queue.leases import Lease
from backend.queue.writes import Write
from backend.workloads.packages import recording_sql as sql
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.model import PackageStatus, RequestPackage
from backend.workloads.packages.policies import auto_approval_sql
from backend.workloads.packages.policies.rules import Ruling
from backend.workloads.packages.revetting import RETRIED, raise_priority
from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.scanning.sources import Coverage
from backend.workloads.packages.steps.download import DownloadResult
from backend.workloads.packages.steps.licence import LicenceResult
from backend.workloads.packages.steps.scan import INSPECTION, Inspected, ScanResult

RULINGS = TypeAdapter(tuple[Ruling, ...])


def of_licence(result: LicenceResult) -> Write:
    """The registry's word as evidence, and the early verdict."""
    values = _verdict(result, until=None)
    if result.record is None:
        return Write((sql.UNREAD,), values, sql.LICENSED)
    return Write(
        (sql.LICENCE,), {"record": result.record.model_dump_json(), **values}, sql.LICENSED
    )


def _verdict(result: LicenceResult | ScanResult, *, until: datetime | None) -> dict[str, Any]:
    return {
        "expression": result.expression,
        "tier": result.tier,
        "score": result.score,
        "policy_digest": result.policy_digest,
        "rulings": RULINGS.dump_json(result.rulings).decode(),
        "verdict_until": until,
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
    found = result.found
    names = {found.name, *(component.name for component in found.components)}
    values = {"inspection": INSPECTION.dump_json(found).decode(), "names": sorted(names)}
    return Write((sql.INSPECTION,), values, answer=sql.POLICY)


def of_scan(result: ScanResult) -> Write:
    """The newest scan counts; earlier ones stay as history."""
    report = result.report
    coverage = [coverage.model_dump(mode="json") for coverage in report.coverage]
    approval = (auto_approval_sql.DECIDE, auto_approval_sql.APPROVE) if result.approves else ()
    return Write(
        (*approval, sql.SCAN),
        {
            "approved_until": "now" if result.publishes else "infinity",
            "advisories": json.dumps(_in_use(report.coverage)),
            "security_score": report.score,
            "scan_result": report.result,
            "verdict_digest": result.verdict_digest,
            "waivers": list(result.waivers) or None,
            "coverage": json.dumps(coverage),
            "notes": list(report.notes),
            "findings": json.dumps(_lines(report.findings)),
            **_verdict(result, until=result.verdict_until),
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
