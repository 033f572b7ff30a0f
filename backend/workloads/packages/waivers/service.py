"""Waivers over their life: proposed by one admin, seconded by another, revoked or expired."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, Forbidden, NotFound
from backend.workloads.packages.denial import ECOSYSTEM
from backend.workloads.packages.policies.versions import admin_still
from backend.workloads.packages.waivers.model import StoredWaiver
from backend.workloads.packages.waivers.settling import Settled, one_at_a_time, settle
from backend.workloads.packages.waivers.wishes import Wish, never_waived

# The package's own findings and records alone: those of all packages are many.
_MALWARE: Final = text("""
SELECT EXISTS (
    SELECT FROM packages p
    JOIN artifacts a ON a.package_id = p.id
    JOIN security_scans c ON c.artifact_id = a.id
    JOIN findings f ON f.scan_id = c.id
    WHERE p.ecosystem = :ecosystem AND p.name = :name AND f.kind IN ('malware', 'heuristic')
      AND lower(:finding) IN (SELECT lower(id) FROM unnest(f.advisory || f.aliases) id))
  OR EXISTS (
    SELECT FROM advisory_packages n JOIN advisories v ON v.id = n.advisory_id
    WHERE n.name IN (:name, :component) AND NOT v.withdrawn
      AND lower(:finding) IN (SELECT lower(id) FROM unnest(v.id || v.aliases) id)
      AND EXISTS (SELECT FROM unnest(v.id || v.aliases) id WHERE starts_with(id, 'MAL-')))
""")

_RESTING: Final = text("""
SELECT s.id, p.name, p.version, s.status
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.waivers IS NOT NULL AND :id = ANY (s.waivers)
ORDER BY s.id LIMIT 1000
""")


def propose(session: Session, wish: Wish, *, by: Principal) -> StoredWaiver:
    """Store one; it waits for another admin.

    Raises:
        Malformed: ``waiver-not-waivable``, what is known of the package says malware of it.
        Forbidden: the role was taken away meanwhile.
    """
    _admin(session, by)
    if wish.finding is not None:
        asked = {"finding": wish.finding, "name": wish.name, "component": wish.component}
        if session.scalar(_MALWARE, {**asked, "ecosystem": ECOSYSTEM}):
            raise never_waived(wish.finding)
    waiver = StoredWaiver(
        ecosystem=ECOSYSTEM,
        name=wish.name,
        range=wish.range,
        finding=wish.finding,
        component=wish.component,
        licence=wish.licence,
        reason=wish.reason,
        expires_at=wish.expires_at,
        proposed_by=by.id,
    )
    session.add(waiver)
    _flush(session, waiver)
    audit.record(
        session, by, "waiver.proposed", f"waiver:{waiver.id}",
        name=wish.name, range=wish.range, finding=wish.finding, component=wish.component,
        licence=wish.licence, reason=wish.reason, expires_at=wish.expires_at.isoformat(),
    )  # fmt: skip
    return waiver


def second(session: Session, waiver_id: int, *, by: Principal) -> tuple[StoredWaiver, Settled]:
    """Put a proposal into force: another admin's to do. What it is for is judged again.

    Raises:
        NotFound: there is none of this id.
        Forbidden: ``four-eyes``, ``by`` has proposed it; or their role was taken away meanwhile.
        Conflict: it is in force or has ended, or whoever proposed it is no active admin any more.
    """
    waiver = _locked(session, waiver_id)
    if waiver.proposed_by == by.id:
        raise Forbidden("Another admin must second what you proposed.", code="four-eyes")
    _open(session, waiver)
    if waiver.seconded_at is not None:
        raise Conflict(f"Waiver {waiver_id} is in force already.", code="waiver-in-force")
    _admin(session, by)
    if not admin_still(session, waiver.proposed_by):
        raise Conflict(
            "Whoever proposed this is no active admin any more: propose it anew.",
            code="waiver-proposer-gone",
        )
    waiver.seconded_by, waiver.seconded_at = by.id, func.now()
    _flush(session, waiver)
    audit.record(session, by, "waiver.seconded", f"waiver:{waiver_id}")
    return _settled(session, waiver)


def revoke(
    session: Session, waiver_id: int, *, by: Principal, reason: str
) -> tuple[StoredWaiver, Settled]:
    """End one at once, or withdraw a proposal: any admin's. What rested on it is judged again.

    Raises:
        NotFound: there is none of this id.
        Forbidden: the role was taken away meanwhile.
        Conflict: ``waiver-ended``, it has ended already.
    """
    waiver = _locked(session, waiver_id)
    _open(session, waiver)
    _admin(session, by)
    waiver.revoked_by, waiver.revoked_at, waiver.revoked_because = by.id, func.now(), reason
    _flush(session, waiver)
    audit.record(session, by, "waiver.revoked", f"waiver:{waiver_id}", reason=reason)
    return _settled(session, waiver)


def listed(
    session: Session, *, name: str | None, before: int | None, limit: int
) -> Sequence[StoredWaiver]:
    """Every waiver there ever was, newest first, those with ids under ``before``."""
    found = select(StoredWaiver).order_by(StoredWaiver.id.desc()).limit(limit)
    if name is not None:
        found = found.where(StoredWaiver.ecosystem == ECOSYSTEM, StoredWaiver.name == name)
    if before is not None:
        found = found.where(StoredWaiver.id < before)
    return session.scalars(found).all()


def one(session: Session, waiver_id: int) -> tuple[StoredWaiver, Sequence[Row[Any]]]:
    """A waiver, and packages whose verdicts rest on it, a thousand at most. Raises NotFound."""
    waiver = session.get(StoredWaiver, waiver_id)
    if waiver is None:
        raise _unknown(waiver_id)
    return waiver, session.execute(_RESTING, {"id": waiver_id}).all()


def clock(session: Session) -> datetime:
    """The database's: it holds waivers to their time."""
    return session.execute(select(func.now())).scalar_one()


def _locked(session: Session, waiver_id: int) -> StoredWaiver:
    one_at_a_time(session)
    waiver = session.get(StoredWaiver, waiver_id, with_for_update=True)
    if waiver is None:
        raise _unknown(waiver_id)
    return waiver


def _open(session: Session, waiver: StoredWaiver) -> None:
    if waiver.revoked_at is not None or waiver.expires_at <= clock(session):
        raise Conflict(f"Waiver {waiver.id} has ended: propose another one.", code="waiver-ended")


def _admin(session: Session, by: Principal) -> None:
    """Also behind the lock that made us wait."""
    if not admin_still(session, by.id):
        raise Forbidden("Waivers need the role admin, which you have no more.")


def _flush(session: Session, waiver: StoredWaiver) -> None:
    session.flush()
    session.refresh(waiver)


def _settled(session: Session, waiver: StoredWaiver) -> tuple[StoredWaiver, Settled]:
    done = settle(session)
    session.refresh(waiver)
    return waiver, done


def _unknown(waiver_id: int) -> NotFound:
    return NotFound(f"There is no waiver {waiver_id}.")
