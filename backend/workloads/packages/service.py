"""What people ask about requests and packages: reads only, each a few statements."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, any_, case, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.problems import NotFound
from backend.queue import fleet, overview
from backend.queue.lifecycle import PROCESSING_FAILURES
from backend.workloads.packages.lifecycle import IN_VETTING, VETTING_QUEUE
from backend.workloads.packages.model import (
    Artifact,
    Package,
    PackageStatus,
    Request,
    RequestExclusion,
    RequestNotice,
    RequestPackage,
    ScanFinding,
    SecurityScan,
)

FAILED = "Failed"
"""Not a status: how counts tell a processing failure from a refusal."""

RECENT = 10


def request_status(counts: Mapping[str, int], *, withdrawn: bool, empty: bool = False) -> str:
    """The status of a request by its packages; the first row that applies.

    ====================  ==========================================================
    withdrawn             the requestor took it back
    approved              the lock names nothing at all: there is nothing to decide
    processing            vetting still works on a package
    failed                a package failed in processing (retry it)
    pending_approval      a package waits for a person
    rejected              no package is left: all refused, recalled or excluded
    partially_rejected    some are refused or recalled, the others approved
    approved              all approved, not all published
    published             all published
    ====================  ==========================================================

    Args:
        counts: packages by status; :data:`FAILED` for those that failed in processing.
    """
    kept = sum(counts.get(status, 0) for status in ("Approved", "Publishing", "Published"))
    if empty and not withdrawn:
        return "approved"
    table = {
        "withdrawn": withdrawn,
        "processing": any(counts.get(status) for status in IN_VETTING),
        "failed": counts.get(FAILED),
        "pending_approval": counts.get("Pending Approval"),
        "rejected": not kept,
        "partially_rejected": counts.get("Rejected") or counts.get("Recalled"),
        "approved": kept != counts.get("Published"),
        "published": True,
    }
    return next(status for status, applies in table.items() if applies)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A request with its packages counted by status (refused and failed ones told apart)."""

    request: Request
    requestor: str
    counts: dict[str, int]

    @property
    def status(self) -> str:
        return request_status(
            self.counts,
            withdrawn=self.request.withdrawn_at is not None,
            empty=self.request.entries == 0,
        )

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def completed(self) -> int:
        """Packages that vetting no longer works on."""
        return self.total - sum(self.counts.get(status, 0) for status in IN_VETTING)

    @property
    def percentage(self) -> float:
        return round(100 * self.completed / self.total, 1) if self.total else 100.0


def visible_to(principal: Principal) -> list[ColumnElement[bool]]:
    """Users see their own requests, approvers and admins all."""
    return [] if principal.may(Role.APPROVER) else [Request.requestor_id == principal.id]


def request_of(session: Session, request_id: int, principal: Principal) -> Request:
    """Raises NotFound, also where it is somebody else's."""
    found = session.scalar(select(Request).where(Request.id == request_id, *visible_to(principal)))
    if found is None:
        raise NotFound(f"There is no request {request_id}.")
    return found


def summaries(
    session: Session, principal: Principal, *, before: int | None, limit: int
) -> list[RequestSummary]:
    """Requests newest first, those with ids under ``before``."""
    wanted = select(Request).where(*visible_to(principal)).order_by(Request.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(Request.id < before)
    return summarise(session, session.scalars(wanted).all())


def summarise(session: Session, requests: Sequence[Request]) -> list[RequestSummary]:
    ids = [request.id for request in requests]
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for request_id, status, count in session.execute(_counted(ids)):
        counts[request_id][status] = count
    owners = {request.requestor_id for request in requests}
    names = dict(session.execute(select(User.id, User.username).where(User.id.in_(owners))).all())
    return [RequestSummary(r, names[r.requestor_id], counts[r.id]) for r in requests]


def _counted(request_ids: Sequence[int]) -> Select[Any]:
    status = case(
        (PackageStatus.failure.in_((*PROCESSING_FAILURES, "cancelled")), FAILED),
        else_=PackageStatus.status,
    )
    return (
        select(RequestPackage.request_id, status, func.count())
        .join(PackageStatus, PackageStatus.artifact_id == RequestPackage.artifact_id)
        .where(RequestPackage.request_id.in_(request_ids))
        .group_by(RequestPackage.request_id, status)
    )


class PackageRow(NamedTuple):
    """One package of a request: its queue row, its coordinates, its bytes, what the lock says."""

    status: PackageStatus
    package: Package
    artifact: Artifact
    wanted: RequestPackage


def packages_of(session: Session, request_id: int) -> list[PackageRow]:
    """Every package of a request with its queue row and the bytes it names."""
    wanted = (
        select(PackageStatus, Package, Artifact, RequestPackage)
        .join(RequestPackage, RequestPackage.artifact_id == PackageStatus.artifact_id)
        .join(Package, Package.id == RequestPackage.package_id)
        .join(Artifact, Artifact.id == PackageStatus.artifact_id)
        .where(RequestPackage.request_id == request_id)
        .order_by(Package.name, Package.version, RequestPackage.id)
    )
    return [PackageRow(*row) for row in session.execute(wanted)]


def newest_scans(session: Session, request_id: int) -> dict[int, SecurityScan]:
    """The scan that counts of each artifact of a request, by artifact id."""
    wanted = select(RequestPackage.artifact_id).where(RequestPackage.request_id == request_id)
    newest = (
        select(SecurityScan)
        .where(SecurityScan.artifact_id.in_(wanted))
        .ext(distinct_on(SecurityScan.artifact_id))
        .order_by(SecurityScan.artifact_id, SecurityScan.id.desc())
    )
    return {scan.artifact_id: scan for scan in session.scalars(newest)}


def findings_of(session: Session, scan_ids: Sequence[int]) -> dict[int, list[ScanFinding]]:
    found: dict[int, list[ScanFinding]] = defaultdict(list)
    these = any_(cast([*scan_ids], ARRAY(BigInteger)))
    wanted = select(ScanFinding).where(ScanFinding.scan_id == these).order_by(ScanFinding.id)
    for finding in session.scalars(wanted):
        found[finding.scan_id].append(finding)
    return found


def exclusions_of(session: Session, request_id: int) -> Sequence[RequestExclusion]:
    return session.scalars(
        select(RequestExclusion)
        .where(RequestExclusion.request_id == request_id)
        .order_by(RequestExclusion.id)
    ).all()


def notices_of(session: Session, request_id: int) -> Sequence[RequestNotice]:
    return session.scalars(
        select(RequestNotice)
        .where(RequestNotice.request_id == request_id)
        .order_by(RequestNotice.id)
    ).all()


@dataclass(frozen=True, slots=True)
class Processing:
    """How the whole packages queue is doing."""

    status_counts: dict[str, int]
    total_requests: int
    recent: list[tuple[str, str, str, datetime]]
    depth: overview.Depth
    workers: int


def processing(session: Session, principal: Principal) -> Processing:
    """Counts are of all requests; recent activity names only packages the caller may see."""
    counts = session.execute(
        select(PackageStatus.status, func.count()).group_by(PackageStatus.status)
    ).all()
    own = (
        select(RequestPackage.id)
        .join(Request, Request.id == RequestPackage.request_id)
        .where(RequestPackage.artifact_id == PackageStatus.artifact_id, *visible_to(principal))
    )
    recent = session.execute(
        select(Package.name, Package.version, PackageStatus.status, PackageStatus.updated_at)
        .join(Artifact, Artifact.package_id == Package.id)
        .join(PackageStatus, PackageStatus.artifact_id == Artifact.id)
        .where(own.exists())
        .order_by(PackageStatus.updated_at.desc())
        .limit(RECENT)
    ).all()
    return Processing(
        status_counts=dict(counts),
        total_requests=session.scalar(select(func.count()).select_from(Request)) or 0,
        recent=[*recent],
        depth=overview.depth(session, VETTING_QUEUE),
        workers=len(fleet.alive(session, VETTING_QUEUE.name)),
    )
