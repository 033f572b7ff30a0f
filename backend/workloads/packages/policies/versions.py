"""Which policy is in force, and how another one comes into force.

What is stricter acts at once; what lets more through waits for another admin. A proposal is for the
version that it was made for: once another one is in force, it is to be made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.problems import Conflict, Forbidden, NotFound
from backend.workloads.packages.policies.current import in_force, one_at_a_time, tiers_of
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.enforcement import judge_again
from backend.workloads.packages.policies.loosening import Change, changes
from backend.workloads.packages.policies.model import PolicyVersion
from backend.workloads.packages.policies.reading import read_policy


@dataclass(frozen=True, slots=True)
class Proposed:
    """A version, and what it changes; ``reopened`` rows are judged again."""

    version: PolicyVersion
    changes: Sequence[Change]
    reopened: Sequence[int] = ()


def open_proposals(session: Session) -> Sequence[PolicyVersion]:
    """Those that another admin may still second, oldest first."""
    return session.scalars(
        select(PolicyVersion)
        .where(PolicyVersion.effective_at.is_(None), PolicyVersion.based_on == in_force(session).id)
        .order_by(PolicyVersion.id)
    ).all()


def history(session: Session, *, before: int | None, limit: int) -> Sequence[PolicyVersion]:
    """Every version there ever was, newest first, those with ids under ``before``."""
    found = select(PolicyVersion).order_by(PolicyVersion.id.desc()).limit(limit)
    if before is not None:
        found = found.where(PolicyVersion.id < before)
    return session.scalars(found).all()


def compared(session: Session, policy: PolicyDocument) -> list[Change]:
    """What ``policy`` would change of the one in force."""
    current = PolicyDocument.model_validate(in_force(session).document)
    return changes(current, policy, tiers_of(session))


def propose(
    session: Session, source: str, *, reason: str | None, by: Principal, own_registry: bool
) -> Proposed:
    """Store a policy; it acts at once where it loosens nothing.

    ``own_registry``: packages come from a registry of one's own.

    Raises:
        Malformed: it is no policy, or contradicts itself.
        Conflict: ``policy-unchanged``, it says what the one in force says.
    """
    policy = read_policy(source)
    one_at_a_time(session)
    current = in_force(session)
    found = compared(session, policy)
    if not found:
        raise Conflict("The policy in force says the same.", code="policy-unchanged")
    loosens = [change.key for change in found if change.loosens]
    version = PolicyVersion(
        based_on=current.id,
        digest=policy.digest,
        document=policy.model_dump(mode="json"),
        source=source,
        loosens=loosens,
        reason=reason,
        proposed_by=by.id,
        effective_at=None if loosens else func.now(),
    )
    session.add(version)
    session.flush()
    session.refresh(version)
    action = "policy.proposed" if loosens else "policy.changed"
    _note(session, by, action, version, loosens=loosens, reason=reason)
    if loosens:
        return Proposed(version, found)
    return Proposed(version, found, judge_again(session, policy, own_registry=own_registry))


def second(session: Session, version_id: int, *, by: Principal, own_registry: bool) -> Proposed:
    """Put a proposal that loosens something into force: another admin's to do.

    Raises:
        NotFound: there is no such version.
        Forbidden: ``four-eyes``, ``by`` has proposed it.
        Conflict: it is in force already, or another one has come into force since it was made, or
            whoever proposed it is no active admin any more.
    """
    one_at_a_time(session)
    version = session.get(PolicyVersion, version_id, populate_existing=True)
    if version is None:
        raise NotFound(f"There is no policy version {version_id}.")
    _may_be_seconded(session, version, by)
    policy = PolicyDocument.model_validate(version.document)
    found = compared(session, policy)
    version.seconded_by = by.id
    version.seconded_at = version.effective_at = func.now()
    session.flush()
    session.refresh(version)
    _note(session, by, "policy.seconded", version, loosens=version.loosens)
    return Proposed(version, found, judge_again(session, policy, own_registry=own_registry))


def _may_be_seconded(session: Session, version: PolicyVersion, by: Principal) -> None:
    if version.effective_at is not None:
        raise Conflict(f"Policy version {version.id} is or was in force.", code="policy-effective")
    if version.proposed_by == by.id:
        raise Forbidden("Another admin must second what you proposed.", code="four-eyes")
    current = in_force(session)
    if version.based_on != current.id:
        raise Conflict(
            f"Version {current.id} has come into force since this was proposed: propose it anew.",
            code="policy-stale",
        )
    if not admin_still(session, version.proposed_by):
        raise Conflict(
            "Whoever proposed this is no active admin any more: propose it anew.",
            code="policy-proposer-gone",
        )


def admin_still(session: Session, user_id: int | None) -> bool:
    """Whether somebody is an active admin now; nobody changes that before this transaction ends."""
    found = session.scalar(
        select(User.id)
        .where(User.id == user_id, User.active, User.role == Role.ADMIN.value)
        .with_for_update(read=True)
    )
    return found is not None


def _note(
    session: Session, by: Principal, action: str, version: PolicyVersion, **detail: Any
) -> None:
    audit.record(session, by, action, f"policy:{version.id}", digest=version.digest, **detail)
