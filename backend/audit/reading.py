"""The log as people ask for it: newest first, filtered, with the names of today."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, or_, select
from sqlalchemy.orm import Session

from backend.identity.model import AuditActor, AuditEntry


@dataclass(frozen=True, slots=True)
class Filters:
    """What entries must be; all that is given must hold."""

    actor: str | None = None
    """A person's name, in any case, or that of a part of the system."""
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""


def entries(
    session: Session, filters: Filters, *, before: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Entries with an id below ``before``, newest first.

    Returns:
        Rows of id, at, actor_id, actor, action, subject and detail; at most ``limit``.
    """
    found = (
        select(
            AuditEntry.id,
            AuditEntry.at,
            AuditEntry.actor_id,
            func.coalesce(AuditActor.name, AuditEntry.actor).label("actor"),
            AuditEntry.action,
            AuditEntry.subject,
            AuditEntry.detail,
        )
        .outerjoin(AuditActor, AuditActor.id == AuditEntry.actor_id)
        .order_by(AuditEntry.id.desc())
        .limit(limit)
    )
    if before is not None:
        found = found.where(AuditEntry.id < before)
    if filters.actor is not None:
        found = found.where(_by(session, filters.actor))
    if filters.action is not None:
        found = found.where(AuditEntry.action == filters.action)
    if filters.subject is not None:
        found = found.where(AuditEntry.subject == filters.subject)
    if filters.since is not None:
        found = found.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        found = found.where(AuditEntry.at < filters.until)
    return session.execute(found).all()


def _by(session: Session, actor: str) -> Any:
    """People first, by their numbers, which are indexed."""
    named = select(AuditActor.id).where(func.lower(AuditActor.name) == func.lower(actor))
    people = session.scalars(named).all()
    part = AuditEntry.actor == actor
    return or_(AuditEntry.actor_id.in_(people), part) if people else part
