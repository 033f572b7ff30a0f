"""What is answered about packages that were decided: history, uses, scans, approvals."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from backend.identity.schemas import Moment
from backend.workloads.packages.approval_schemas import AskedBy, Purl
from backend.workloads.packages.schemas import FindingOut, Id, Stored, WaiverRestedOn


class Attempt(BaseModel):
    queue: str
    attempt: int
    step: str | None
    outcome: str
    failure: str | None
    error: str | None
    worker: str | None
    started_at: Moment | None
    ended_at: Moment


class Scan(BaseModel):
    result: str
    score: int | None
    scanned_at: Moment


class DecisionOut(BaseModel):
    decision: str
    decided_by: str
    reason: str | None
    verdict_digest: str | None
    decided_at: Moment


class HistoryOut(Stored):
    """Each list is oldest first."""

    id: int
    name: str
    version: str
    purl: str
    status: str
    recall: str | None
    failure: str | None
    error: str | None
    verdict_digest: str | None
    attempts: list[Attempt]
    scans: list[Scan]
    decisions: list[DecisionOut]


class WhereUsedIn(BaseModel):
    """``pkg:npm/NAME@VERSION``, or without a version for all of them; pass ``next`` as before."""

    purl: Purl
    before: Id | None = None
    limit: int = Field(50, ge=1, le=200)


class Use(Stored):
    """``id``, ``name`` and ``version`` are of what the lock names.

    ``bundled`` says where in its tarball the package lies; None where the lock names it itself.
    """

    request_id: int
    application_name: str
    application_version: str
    requestor: str
    withdrawn: bool
    id: int | None
    name: str
    version: str
    status: str | None
    paths: list[str]
    dev: bool
    optional: bool
    bundled: list[str] | None


class WhereUsedOut(BaseModel):
    purl: str
    uses: list[Use]
    next: int | None

    @classmethod
    def of(cls, asked: WhereUsedIn, found: Sequence[Any]) -> "WhereUsedOut":
        page = found[: asked.limit]
        return cls(
            purl=asked.purl,
            uses=[Use.model_validate(row) for row in page],
            next=page[-1].use if len(found) > asked.limit else None,
        )


class ScanStatus(Stored):
    id: int
    name: str
    version: str
    status: str
    scan_result: str | None
    security_score: int | None
    scanned_at: Moment | None
    verdict_digest: str | None


class ScanReportOut(ScanStatus):
    """``coverage`` None = never scanned."""

    purl: str
    license_identifier: str | None
    license_status: str | None
    license_score: int | None
    findings: list[FindingOut]
    coverage: list[dict[str, Any]] | None
    notes: list[str]
    waivers: list[WaiverRestedOn]


class TriggerOut(BaseModel):
    message: str
    package_id: int
    status: str


class AuditPage(BaseModel):
    """Keyset pagination: pass the last answer's ``next`` as ``before``."""

    before: Id | None = None
    limit: int = Field(50, ge=1, le=200)


class PackageNamed(BaseModel):
    id: int
    name: str
    version: str
    status: str


class Approval(BaseModel):
    approved_at: Moment
    approver: str
    reason: str | None


class Approved(BaseModel):
    package: PackageNamed
    approval: Approval
    original_request: AskedBy | None

    @classmethod
    def of(cls, row: Any) -> "Approved":
        asked = row.request_id is not None
        return cls(
            package=PackageNamed(
                id=row.package_id, name=row.name, version=row.version, status=row.status
            ),
            approval=Approval(
                approved_at=row.approved_at, approver=row.approver, reason=row.reason
            ),
            original_request=AskedBy(
                id=row.request_id,
                application_name=row.application_name,
                version=row.application_version,
                requestor=row.requestor,
            )
            if asked
            else None,
        )


class AuditOut(BaseModel):
    audit_data: list[Approved]
    next: int | None

    @classmethod
    def of(cls, found: Sequence[Any], limit: int) -> "AuditOut":
        shaped = [Approved.of(row) for row in found[:limit]]
        return cls(audit_data=shaped, next=found[limit - 1].id if len(found) > limit else None)
