"""The audit log: written in the transaction of the deed, so neither exists without the other."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from backend.identity.model import AuditEntry
from backend.identity.roles import Principal


def record(
    session: Session, actor: Principal | str, action: str, subject: str, **detail: Any
) -> None:
    """Note one deed, for ever: no name of a person belongs in it, only their number.

    Args:
        session: the one in which the deed is done.
        actor: a caller, or the name of the part of the system that acts by itself.
        action: "noun.verb", in the past: ``user.created``.
        subject: "kind:id" of what it was done to: ``user:42``.
        detail: what a reader needs to understand it, as JSON; never a secret.
    """
    record_each(session, actor, action, [subject], **detail)


def record_each(
    session: Session, actor: Principal | str, action: str, subjects: Iterable[str], **detail: Any
) -> None:
    """:func:`record` one deed that was done to several, an entry for each."""
    # A part may have no right to name a person, not even nobody.
    who = {"actor_id": actor.id} if isinstance(actor, Principal) else {"actor": actor}
    entry: dict[str, Any] = {**who, "action": action, "detail": detail}
    if entries := [{**entry, "subject": subject} for subject in subjects]:
        session.execute(insert(AuditEntry), entries)
