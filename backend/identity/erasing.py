"""Erasing a person: the account stays as a pseudonym, for what it did stays; the name goes."""

import secrets

from sqlalchemy import delete, func, update
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.model import ApiKey, AuditActor, Login, User
from backend.identity.roles import Principal, Role
from backend.identity.service import lock_active_admins
from backend.problems import Conflict, NotFound

NO_PASSWORD = "!"  # noqa: S105 - no hash: nothing matches it


def erase(session: Session, actor: Principal | str, user_id: int) -> None:
    """Take a person's name out of the accounts and of the audit log, and end all they can do.

    No entry of the log changes: entries hold the number, whose name is kept apart from them. Again
    is no error.

    Raises:
        NotFound: no such user.
        Conflict: code ``last-admin``; nobody could administer the system afterwards.
    """
    admins = lock_active_admins(session)
    user = session.get(User, user_id, with_for_update={"key_share": True}, populate_existing=True)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    known = session.scalar(
        update(AuditActor)
        .where(AuditActor.user_id == user_id)
        .values(name=_pseudonym(), user_id=None)
        .returning(AuditActor.name)
    )
    if known is None:
        return
    if admins == [user_id]:
        raise Conflict(
            f"{user.username} is the last active admin: make another one first.", code="last-admin"
        )
    user.username, user.password_hash = known, NO_PASSWORD
    user.role, user.active = Role.USER.value, False
    user.tokens_valid_after = func.clock_timestamp()
    for owned in (Login, ApiKey):
        session.execute(delete(owned).where(owned.user_id == user_id))
    session.flush()
    audit.record(session, actor, "user.erased", f"user:{user_id}")


def _pseudonym() -> str:
    return f"erased-{secrets.token_hex(6)}"
