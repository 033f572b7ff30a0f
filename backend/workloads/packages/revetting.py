"""What happens to known artifacts: vetted again, more urgent, or no longer needed."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Interval,
    and_,
    any_,
    bindparam,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.queue import control
from backend.queue.lifecycle import PROCESSING_FAILURES
from backend.workloads.packages import approval, approval_sql
from backend.workloads.packages.lifecycle import INSPECT, PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.model import (
    AdvisoryState,
    ArtifactEvidence,
    PackageStatus,
    Request,
    RequestPackage,
)
from backend.workloads.packages.policy import DIGEST

RETRIED = (*PROCESSING_FAILURES, "cancelled")


_OF_ARTIFACTS: Final = PackageStatus.artifact_id == any_(
    bindparam("artifacts", type_=ARRAY(BigInteger))
)

# One word for all advisory records in use, as the workers last loaded them.
_ADVISORIES: Final = func.coalesce(
    select(
        func.string_agg(
            AdvisoryState.digest, aggregate_order_by(literal("+"), AdvisoryState.source)
        )
    ).scalar_subquery(),
    "",
)

# How the verdict of each artifact stands that vetting has ended; open rows are left out.
_STANDING: Final = (
    select(
        PackageStatus.id,
        PackageStatus.failure,
        # A verdict found anew from stored evidence is no younger than that evidence.
        (
            func.coalesce(ArtifactEvidence.updated_at, PackageStatus.vetted_at)
            < func.now() - bindparam("max_age", type_=Interval())
        ).label("old"),
        or_(
            PackageStatus.policy_digest.is_distinct_from(DIGEST),
            # Null: refused before any advisory was asked, so none can change that.
            func.coalesce(PackageStatus.advisories_digest != _ADVISORIES, false()),
            func.coalesce(PackageStatus.verdict_until < func.now(), false()),
            # Judged by a release that had no word for its verdict.
            and_(
                PackageStatus.status == VETTING_QUEUE.done,
                PackageStatus.verdict_digest.is_(None),
            ),
        ).label("changed"),
        ArtifactEvidence.inspection.is_not(None).label("read"),
    )
    .outerjoin(ArtifactEvidence, ArtifactEvidence.artifact_id == PackageStatus.artifact_id)
    .where(
        _OF_ARTIFACTS,
        or_(
            PackageStatus.status == VETTING_QUEUE.done,
            PackageStatus.failure.in_(("policy", *RETRIED)),
        ),
    )
)

_LESS_URGENT: Final = (
    select(PackageStatus.id)
    .where(
        _OF_ARTIFACTS,
        PackageStatus.status == VETTING_QUEUE.ready,
        PackageStatus.priority < bindparam("priority"),
    )
    .order_by(PackageStatus.id)
    .with_for_update(key_share=True)
)


def vet_again(session: Session, artifacts: Collection[int], *, max_age: timedelta) -> list[int]:
    """Queue known artifacts whose verdict does not stand today; answers their row ids.

    From the start: what failed in processing or was withdrawn, and evidence older than
    ``max_age``. From the stored evidence: what other licence tiers or other advisory records
    judged. What a person decided stays decided.
    """
    retried: list[int] = []
    anew: list[int] = []
    judged: list[int] = []
    asked = {"artifacts": sorted(artifacts), "max_age": max_age}
    for row in session.execute(_STANDING, asked):
        if row.failure in RETRIED:
            retried.append(row.id)
        elif row.old or (row.changed and not row.read):
            anew.append(row.id)
        elif row.changed:
            judged.append(row.id)
    return [
        *control.requeue(session, VETTING_QUEUE, retried, failures=RETRIED),
        *control.reopen(session, VETTING_QUEUE, anew, failures=("policy",)),
        *control.reopen(session, VETTING_QUEUE, judged, step=INSPECT, failures=("policy",)),
    ]


def judge_anew(session: Session, ids: Collection[int], *, actor: str) -> list[int]:
    """Queue what waits for a person, or is approved and was never given to a registry.

    From the stored evidence; the approval of the latter is void, and ``actor`` is who says so in
    the audit log. Answers the row ids that became ready; all others are left alone.
    """
    rows = approval.lock(session, ids)
    tried = {
        *session.connection().exec_driver_sql(approval_sql.TRIED, {"ids": sorted(rows)}).scalars()
    }
    waiting = [i for i, row in rows.items() if row.status == VETTING_QUEUE.done]
    void = [
        i
        for i, row in rows.items()
        if row.status == PUBLISHING_QUEUE.ready and not row.recall and i not in tried
    ]
    approval_sql.run(session, approval_sql.RETURN, void)
    audit.record_each(session, actor, "approval.voided", [f"package:{i}" for i in void])
    return control.reopen(session, VETTING_QUEUE, [*waiting, *void], step=INSPECT)


def raise_priority(session: Session, artifacts: Collection[int], priority: int) -> None:
    """An artifact is as urgent as its most urgent request."""
    asked = {"artifacts": sorted(artifacts), "priority": priority}
    ids = session.scalars(_LESS_URGENT, asked).all()
    if ids:
        session.execute(
            update(PackageStatus).where(PackageStatus.id.in_(ids)).values(priority=priority)
        )


def withdraw(session: Session, request: Request, *, by: Principal) -> list[int]:
    """End a request; stops only what no other open request needs. Answers the cancelled rows."""
    if request.withdrawn_at is not None:
        return []
    request.withdrawn_at = func.now()
    session.flush()
    mine = select(RequestPackage.artifact_id).where(RequestPackage.request_id == request.id)
    still_open = and_(
        PackageStatus.artifact_id.in_(mine),
        PackageStatus.status.in_((VETTING_QUEUE.ready, *VETTING_QUEUE.held)),
    )
    # An upload that links one of these just now holds a key-share lock on its row: wait for it,
    # so that it is counted below, or let it wait and find the cancelled row. No other lock is
    # held meanwhile: a worker that has such a row may want its artifact.
    session.execute(
        select(PackageStatus.id).where(still_open).order_by(PackageStatus.id).with_for_update()
    )
    others = (
        select(RequestPackage.artifact_id)
        .join(Request, Request.id == RequestPackage.request_id)
        .where(
            Request.withdrawn_at.is_(None),
            RequestPackage.artifact_id == PackageStatus.artifact_id,
        )
    )
    needless = session.scalars(select(PackageStatus.id).where(still_open, ~others.exists())).all()
    cancelled = control.cancel(
        session, VETTING_QUEUE, needless, why=f"request {request.id} was withdrawn"
    )
    audit.record(
        session, by, "request.withdrawn", f"request:{request.id}", cancelled=len(cancelled)
    )
    return cancelled


def retry(
    session: Session,
    request: Request | None,
    *,
    by: Principal,
    include_rejected: bool = False,
    reason: str | None = None,
) -> list[int]:
    """Queue again what failed in processing, of one request or of all; answers the row ids.

    Only what an open request needs. ``include_rejected`` vets anew what policy or a person
    refused, too: the caller has checked that ``by`` may, and nobody reopens what they requested.
    """
    failures = PROCESSING_FAILURES + (("policy", "human") if include_rejected else ())
    asked = (
        select(RequestPackage.id)
        .join(Request, Request.id == RequestPackage.request_id)
        .where(RequestPackage.artifact_id == PackageStatus.artifact_id)
    )
    needed = asked.where(Request.withdrawn_at.is_(None))
    if request is not None:
        needed = needed.where(Request.id == request.id)
    wanted = select(PackageStatus.id).where(PackageStatus.failure.in_(failures), needed.exists())
    if include_rejected:
        wanted = wanted.where(~asked.where(Request.requestor_id == by.id).exists())
    ids = session.scalars(wanted).all()
    retried = [
        *control.requeue(session, VETTING_QUEUE, ids, failures=failures),
        *control.requeue(session, PUBLISHING_QUEUE, ids),  # keeps its approval
    ]
    subject = f"request:{request.id}" if request is not None else "queue:packages"
    audit.record(
        session, by, "packages.retried", subject, count=len(retried),
        include_rejected=include_rejected, reason=reason,
    )  # fmt: skip
    return retried
