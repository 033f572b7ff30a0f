"""The policy in force, for those who change it."""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.workloads.packages.licences import Tier
from backend.workloads.packages.model import SupportedLicense
from backend.workloads.packages.policies.model import PolicyVersion

LOCK: Final = "policy"
"""Whose hash is the lock under which policy and tiers change, one change at a time."""


def in_force(session: Session) -> PolicyVersion:
    return session.scalars(
        select(PolicyVersion)
        .where(PolicyVersion.effective_at.is_not(None))
        .order_by(PolicyVersion.id.desc())
        .limit(1)
    ).one()


def tiers_of(session: Session) -> dict[str, Tier]:
    """The table's tiers, by identifier."""
    found = session.execute(select(SupportedLicense.identifier, SupportedLicense.status))
    return {identifier: Tier(status) for identifier, status in found}


def one_at_a_time(session: Session) -> None:
    """Others who change policy or tiers wait for the end of this transaction."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(LOCK, 0))))
