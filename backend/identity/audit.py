"""The audit log: written in the transaction of the deed, so neither exists without the other."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from backend.identity.model import AuditEntry
from backend.identity.roles import Principal


def record(
    session: Session, actor: Principal | str, action: str, subject: str, **detail: Any
) -> None:
    """Note one deed.

    Args:
        session: the one in which the deed is done.
        actor: a caller, or the name of the part of the system that acts by itself.
        action: "noun.verb", in the past: ``user.created``.
        subject: "kind:id" of what it was done to: ``user:42``.
        detail: what a reader needs to understand it, as JSON; never a secret.
    """
    someone, name = (actor.id, actor.username) if isinstance(actor, Principal) else (None, actor)
    session.execute(
        insert(AuditEntry).values(
            actor_id=someone,
            actor=name,
            action=action,
            subject=subject,
            detail=detail,
        )
    )
