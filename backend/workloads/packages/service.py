"""What people ask about requests and packages: reads only, each a few statements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit
from backend.identity.roles import Principal, Role
from backend.problems import NotFound
from backend.queue import fleet, overview
from backend.workloads.packages import service_sql
from backend.workloads.packages.lifecycle import IN_VETTING, VETTING_QUEUE
from backend.workloads.packages.model import (
    Artifact,
    Package,
    PackageStatus,
    Request,
    RequestPackage,
)
from backend.workloads.packages.service_sql import FAILED

KEPT: Final = frozenset({"Approved", "Publishing", "Published"})
REFUSED: Final = frozenset({"Rejected", "Recalled"})
RECENT = 10
LAST = 2**63 - 1  # no id is greater


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
    there = {status for status, times in counts.items() if times}
    kept = there & KEPT
    table = (
        ("withdrawn", withdrawn),
        ("approved", empty),
        ("processing", there.intersection(IN_VETTING)),
        ("failed", FAILED in there),
        ("pending_approval", "Pending Approval" in there),
        ("rejected", not kept),
        ("partially_rejected", there & REFUSED),
        ("approved", kept != {"Published"}),
    )
    return next((status for status, applies in table if applies), "published")


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A request with its packages counted by status (refused and failed ones told apart)."""

    id: int
    application_name: str
    version: str
    lock_format: str
    entries: int
    created_at: datetime
    withdrawn: bool
    requestor: str
    counts: dict[str, int]

    @property
    def status(self) -> str:
        return request_status(self.counts, withdrawn=self.withdrawn, empty=self.entries == 0)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def completed(self) -> int:
        """Packages that vetting no longer works on."""
        return sum([n for status, n in self.counts.items() if status not in IN_VETTING])

    @property
    def percentage(self) -> float:
        total = self.total
        return round(100 * self.completed / total, 1) if total else 100.0


def visible_to(principal: Principal) -> list[ColumnElement[bool]]:
    """Users see their own requests, approvers and admins all."""
    return [] if principal.may(Role.APPROVER) else [Request.requestor_id == principal.id]


def request_of(session: Session, request_id: int, principal: Principal) -> Request:
    """Raises NotFound, also where it is somebody else's."""
    found = session.scalar(select(Request).where(Request.id == request_id, *visible_to(principal)))
    if found is None:
        raise no_request(request_id)
    return found


def summaries(
    statements: Autocommit, principal: Principal, *, before: int | None, limit: int
) -> list[RequestSummary]:
    """Requests newest first, those with ids under ``before``."""
    owner = _owner(principal)
    statement = service_sql.ALL if owner is None else service_sql.OWN
    page = {"before": before or LAST, "limit": limit, "owner": owner}
    return [RequestSummary(*row) for row in statements.rows(statement, page)]


SUMMARY: Final = len(fields(RequestSummary))
"""Columns; what else a statement answers stands behind them."""


class RequestShown(NamedTuple):
    """A request with its packages, and what else there is to say about it: lists as JSON text."""

    summary: RequestSummary
    packages: str
    excluded: str = "[]"
    notices: str = "[]"


def shown(request_id: int, found: Sequence[Any]) -> RequestShown:
    """A request as the caller may see it.

    Args:
        request_id: which was asked for.
        found: what ``service_sql.PROGRESS`` or ``DETAIL`` answered.

    Raises:
        NotFound: as :func:`request_of` does.
    """
    if found[0] is None:
        raise no_request(request_id)
    *about, words = found[:SUMMARY]  # what each package counts as; None where there is none
    counts = dict(Counter(words or ()))
    return RequestShown(RequestSummary(*[*about, counts]), *found[SUMMARY:])


def _owner(principal: Principal) -> int | None:
    """Whose requests the caller sees; None for everybody's."""
    return None if principal.may(Role.APPROVER) else principal.id


def no_request(request_id: int) -> NotFound:
    return NotFound(f"There is no request {request_id}.")


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
