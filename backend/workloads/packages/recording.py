"""What steps found, written inside the fenced commit: the fence is the first statement."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from backend.queue import control, leases
from backend.queue.leases import Lease
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.model import (
    AdvisoryState,
    Artifact,
    ArtifactEvidence,
    Package,
    PackageStatus,
    RequestPackage,
    ScanFinding,
    SecurityScan,
)
from backend.workloads.packages.revetting import RETRIED, raise_priority
from backend.workloads.packages.scanning.sources import Coverage
from backend.workloads.packages.steps.download import DownloadResult
from backend.workloads.packages.steps.licence import LicenceResult
from backend.workloads.packages.steps.scan import Inspected, ScanResult


def _artifact_of(session: Session, lease: Lease) -> int:
    found = select(PackageStatus.artifact_id).where(PackageStatus.id == lease.id)
    return session.scalars(found).one()


def _remember(session: Session, artifact_id: int, **documents: Any) -> None:
    values = {**documents, "updated_at": func.now()}
    session.execute(
        upsert(ArtifactEvidence)
        .values(artifact_id=artifact_id, **values)
        .on_conflict_do_update(index_elements=["artifact_id"], set_=values)
    )


def _judge(session: Session, lease: Lease, **verdict: Any) -> None:
    session.execute(update(PackageStatus).where(PackageStatus.id == lease.id).values(**verdict))


def save_licence(session: Session, lease: Lease, result: LicenceResult) -> None:
    _remember(
        session, _artifact_of(session, lease), registry_record=result.record.model_dump(mode="json")
    )
    _judge(
        session, lease,
        license_identifier=result.expression,
        license_status=result.tier,
        license_score=result.score,
        policy_digest=result.policy_digest,
        vetted_at=func.now(),
    )  # fmt: skip


def save_download(session: Session, lease: Lease, result: DownloadResult) -> None:
    """The bytes are known. Known already under another declared hash: the two are merged."""
    artifact_id = _artifact_of(session, lease)
    twin = _twin(session, artifact_id, result.sha512)
    facts = {
        "sha512": result.sha512,
        "size": result.size,
        "checked": result.checked,
        "registry_agrees": result.registry_agrees,
        "merged_into": twin,
    }
    session.execute(update(Artifact).where(Artifact.id == artifact_id).values(**facts))
    if twin is not None:
        _merge(session, lease, artifact_id, twin)


def _twin(session: Session, artifact_id: int, sha512: str) -> int | None:
    """Another artifact of the same package with the same bytes.

    The package's row is locked first: of two artifacts that turn out to be twins at the same
    moment one must see the other. The artifact's own row is locked against uploads that link it.
    """
    package_id = session.scalars(
        select(Artifact.package_id).where(Artifact.id == artifact_id)
    ).one()
    session.execute(
        select(Package.id).where(Package.id == package_id).with_for_update(key_share=True)
    )
    session.execute(select(Artifact.id).where(Artifact.id == artifact_id).with_for_update())
    return session.scalar(
        select(Artifact.id).where(
            Artifact.package_id == package_id,
            Artifact.sha512 == sha512,
            Artifact.merged_into.is_(None),
            Artifact.id != artifact_id,
        )
    )


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


def save_inspection(session: Session, lease: Lease, result: Inspected) -> None:
    """What the tarball itself says, as evidence for the verdict."""
    found = result.model_dump(mode="json")["found"]
    _remember(session, _artifact_of(session, lease), inspection=found)


def save_scan(session: Session, lease: Lease, result: ScanResult) -> None:
    """The newest scan counts; earlier ones stay as history."""
    report, artifact_id = result.report, _artifact_of(session, lease)
    scan = SecurityScan(
        artifact_id=artifact_id,
        result=report.result,
        score=report.score,
        coverage=[coverage.model_dump(mode="json") for coverage in report.coverage],
        notes=list(report.notes),
    )
    session.add(scan)
    session.flush()
    if report.findings:
        session.execute(
            insert(ScanFinding),
            [
                {
                    "scan_id": scan.id,
                    "advisory": finding.id,
                    "aliases": list(finding.aliases),
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "title": finding.title,
                    "fixed": list(finding.fixed or ()),
                    "source": finding.source,
                    "component": finding.component,
                }
                for finding in report.findings
            ],
        )
    _judge(
        session, lease,
        security_score=report.score,
        scan_result=report.result,
        license_identifier=result.expression,
        license_status=result.tier,
        license_score=result.score,
        policy_digest=result.policy_digest,
        advisories_digest=_record_advisories(session, report.coverage),
        vetted_at=func.now(),
    )  # fmt: skip


def _record_advisories(session: Session, coverage: Sequence[Coverage]) -> str:
    """Say which advisory records are in use; answers the digest over all sources."""
    known = dict(session.execute(select(AdvisoryState.source, AdvisoryState.digest)).all())
    for source in coverage:
        if source.digest is None:
            continue  # a service, always current: its age is judged by ADVISORY_MAX_AGE alone
        facts = f"{source.digest} {source.complete}"
        digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
        if known.get(source.source) == digest:
            continue  # an upsert would lock the row even so, and scans would queue up for it
        statement = upsert(AdvisoryState).values(source=source.source, digest=digest)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["source"],
                set_={"digest": digest, "loaded_at": func.now()},
                where=AdvisoryState.digest != digest,
            )
        )
    digests = session.scalars(select(AdvisoryState.digest).order_by(AdvisoryState.source))
    return "+".join(digests)
