"""What approvers decide: approve, reject, publish. A package is decided once, for every request."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, Forbidden, NotFound
from backend.queue import control
from backend.workloads.packages import approval_sql as sql
from backend.workloads.packages.denied_versions import denial_of
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE

APPROVED = ("Approved", "Publishing", "Published")


@dataclass(frozen=True, slots=True)
class Undone:
    """A package that was left alone: ``code`` for programs, ``error`` for people."""

    id: int
    code: str
    error: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What a batch came to; both in the order of the ids."""

    done: list[int] = field(default_factory=list)
    failed: list[Undone] = field(default_factory=list)


def approve(
    session: Session,
    ids: Collection[int],
    digests: Mapping[int, str],
    *,
    by: Principal,
    reason: str | None,
    publish: bool,
) -> Decided:
    """Approve what waits for approval, where its verdict is still the one that ``by`` saw.

    Args:
        digests: the verdict digest that was seen, by package.
        publish: at once; else each waits for :func:`publish`.

    Raises:
        Forbidden: the role was taken away meanwhile.
    """
    decided = _judged(session, ids, by, digests)
    _decide(session, decided.done, by, "approve", reason)
    available_at = "now" if publish else "infinity"
    sql.run(session, sql.APPROVE, decided.done, available_at=available_at)
    return decided


def reject(session: Session, ids: Collection[int], *, by: Principal, reason: str | None) -> Decided:
    """Reject what waits for approval. Raises as :func:`approve` does."""
    decided = _judged(session, ids, by, None)
    _decide(session, decided.done, by, "reject", reason)
    error = f"rejected: {reason}" if reason else "rejected by an approver"
    sql.run(session, sql.REFUSE, decided.done, failure="human", error=error)
    return decided


def publish(session: Session, row_id: int, *, by: Principal) -> str:
    """Let the publisher have an approved package, also one whose publishing failed; idempotent.

    Returns:
        The row's status afterwards.

    Raises:
        NotFound: there is no such package.
        Conflict: nobody has approved it, or it is recalled.
    """
    found = lock(session, [row_id]).get(row_id)
    if found is None:
        raise NotFound(f"There is no package {row_id}.")
    failed = found.status == "Rejected" and found.failed_from == PUBLISHING_QUEUE.ready
    if found.recall or not (failed or found.status in APPROVED):
        shown = "being recalled" if found.recall else found.status
        raise Conflict(f"Package {row_id} is {shown}: approve it first.", code="not-approved")
    if failed and not control.requeue(session, PUBLISHING_QUEUE, [row_id]):
        raise Conflict(f"Package {row_id} cannot be published: {found.error}", code="not-approved")
    if failed or sql.run(session, sql.PUBLISH, [row_id]):
        audit.record(session, by, "package.publishing-asked", f"package:{row_id}")
    return PUBLISHING_QUEUE.ready if failed else str(found.status)


def lock(session: Session, ids: Collection[int]) -> dict[int, Row[Any]]:
    """The rows of ``ids`` that there are, locked in the order of their ids."""
    found = session.connection().exec_driver_sql(sql.LOCK, {"ids": sorted(ids)})
    return {row.id: row for row in found}


def still_decides(session: Session, by: Principal) -> None:
    """Raises Forbidden where the role was taken away since the request began; else it stays."""
    asked = session.connection().exec_driver_sql(sql.DECIDER, {"by": by.id})
    if asked.first() is None:
        raise Forbidden("Deciding needs the role approver, which you have no more.")


def _judged(
    session: Session, ids: Collection[int], by: Principal, digests: Mapping[int, str] | None
) -> Decided:
    still_decides(session, by)
    rows = lock(session, ids)
    asked = {"ids": sorted(rows), "by": by.id}
    judged = {row.id: row for row in session.connection().exec_driver_sql(sql.JUDGED, asked)}
    decided = Decided()
    for row_id in sorted(set(ids)):
        objection = _objection(rows.get(row_id), judged.get(row_id), digests)
        if objection is None:
            decided.done.append(row_id)
        else:
            decided.failed.append(Undone(row_id, *objection))
    return decided


def _objection(
    row: Row[Any] | None, judged: Row[Any] | None, digests: Mapping[int, str] | None
) -> tuple[str, str] | None:
    """Why a package cannot be decided, as code and sentence; ``digests``: it is to be approved."""
    if row is None or judged is None:
        return "not-found", "There is no such package."
    if row.status != "Pending Approval":
        because = f": {row.error}" if row.error else ""
        return "not-pending", f"It does not wait for approval, it is {row.status}{because}."
    if not judged.may:
        return "four-eyes", "Somebody else must decide about what you requested or waived."
    return _unapprovable(row, judged, digests) if digests is not None else None


def _unapprovable(
    row: Row[Any], judged: Row[Any], digests: Mapping[int, str]
) -> tuple[str, str] | None:
    denied = denial_of(judged.version, judged.denials, judged.copy_denials)
    if denied is not None:
        return "denied", f"Nobody gets this version; {denied}."
    if row.verdict_digest is None or judged.unseen:
        return "verdict-missing", "Its verdict is an older release's: have it scanned again."
    if digests.get(row.id) != row.verdict_digest:
        return "verdict-changed", "Its verdict is not the one that you saw: look at it again."
    if judged.flagged:
        return "advisory-flagged", "An advisory came up meanwhile: have it scanned again."
    if judged.waiver_ended:
        return "waiver-ended", "A waiver that its verdict rests on has ended: it is judged again."
    return None


def _decide(
    session: Session, ids: Collection[int], by: Principal, decision: str, reason: str | None
) -> None:
    sql.run(session, sql.DECIDE, ids, decision=decision, by=by.id, reason=reason)
    verb = {"approve": "approved", "reject": "rejected"}[decision]
    subjects = [f"package:{row_id}" for row_id in ids]
    audit.record_each(session, by, f"package.{verb}", subjects, reason=reason)
