"""Users, sign-ins and API keys. Takes a session and commits nothing.

Whoever changes what a user may do locks that user's row; whoever hands out a token for a user locks
it too. So a token is either issued before a change, and ended by it, or issued after it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from backend.identity import audit, tokens
from backend.identity.model import USERNAME, ApiKey, Login, RefreshToken, User
from backend.identity.roles import Principal, Role, Scope
from backend.problems import Conflict, Malformed, NotFound


@dataclass(frozen=True, slots=True)
class Grant:
    """A successful sign-in or refresh: what the tokens are made of."""

    principal: Principal
    login: UUID
    issued: datetime
    """By the database's clock."""
    refresh_token: str


# Users


def create_user(
    session: Session, actor: Principal | str, *, username: str, password_hash: str, role: Role
) -> User:
    """Add a user.

    Raises:
        Malformed: code ``bad-username``.
        Conflict: code ``username-taken``; names differ by more than case.
    """
    if not re.fullmatch(USERNAME, username):
        raise Malformed(
            "A username is 1 to 64 letters, digits or . _ @ + -, the first a letter or a digit.",
            code="bad-username",
        )
    user: User | None = session.scalar(
        upsert(User)
        .values(username=username, password_hash=password_hash, role=role)
        .on_conflict_do_nothing()
        .returning(User)
    )
    if user is None:
        raise Conflict(f"The username {username} is taken.", code="username-taken")
    audit.record(session, actor, "user.created", f"user:{user.id}", role=user.role)
    return user


def user_named(session: Session, username: str) -> User | None:
    """An active user, whatever the case of the name."""
    if not username.isascii():
        return None  # the database's lower case may make an ASCII letter of another
    return session.scalar(
        select(User).where(func.lower(User.username) == func.lower(username), User.active)
    )


def user_by_id(session: Session, user_id: int) -> User:
    """Raises NotFound."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


def users_after(session: Session, user_id: int, limit: int) -> Sequence[User]:
    return session.scalars(
        select(User).where(User.id > user_id).order_by(User.id).limit(limit)
    ).all()


def change_user(
    session: Session,
    actor: Principal | str,
    user_id: int,
    *,
    role: Role | None = None,
    active: bool | None = None,
    revoke_tokens: bool = False,
) -> User:
    """Change what a user may do. Deactivating ends every sign-in and API key as well.

    Raises:
        NotFound: no such user.
        Conflict: code ``last-admin``; nobody could administer the system afterwards.
    """
    admins = lock_active_admins(session)
    user = session.get(User, user_id, with_for_update={"key_share": True}, populate_existing=True)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    demoted = role not in {None, Role.ADMIN} or active is False
    if demoted and admins == [user_id]:
        raise Conflict(
            f"{user.username} is the last active admin: make another one first.", code="last-admin"
        )
    user.role = user.role if role is None else role.value
    user.active = user.active if active is None else active
    if revoke_tokens or active is False:
        user.tokens_valid_after = func.clock_timestamp()
        _revoke_logins(session, user_id)
        _revoke_keys(session, user_id)
    session.flush()
    session.refresh(user)
    asked = {"role": role, "active": active, "revoke_tokens": revoke_tokens or None}
    changes = {name: value for name, value in asked.items() if value is not None}
    audit.record(session, actor, "user.changed", f"user:{user_id}", **changes)
    return user


def change_password(
    session: Session, owner: Principal, *, verified: str, password_hash: str
) -> bool:
    """Replace the hash that was verified; ends every sign-in. API keys stay.

    Returns:
        False where the password had changed in the meantime; nothing is done then.
    """
    changed = session.execute(
        update(User)
        .where(User.id == owner.id, User.password_hash == verified, User.active)
        .values(password_hash=password_hash, tokens_valid_after=func.clock_timestamp())
        .returning(User.id)
    ).scalar()
    if changed is None:
        return False
    _revoke_logins(session, owner.id)
    audit.record(session, owner, "password.changed", f"user:{owner.id}")
    return True


def rehash(session: Session, user_id: int, *, verified: str, password_hash: str) -> None:
    """Keep the same password under today's parameters."""
    session.execute(
        update(User)
        .where(User.id == user_id, User.password_hash == verified)
        .values(password_hash=password_hash)
    )


def lock_active_admins(session: Session) -> list[int]:
    """Always first and in order: two admins who demote each other wait, and one is refused."""
    admins = (
        select(User.id)
        .where(User.role == Role.ADMIN.value, User.active)
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    return list(session.scalars(admins))


# Sign-ins


def open_login(session: Session, user_id: int, verified: str, ttl: timedelta) -> Grant | None:
    """Sign a user in whose password matched ``verified``.

    Returns:
        None where that is no longer the password, or the user was deactivated.
    """
    user = session.scalar(
        select(User)
        .where(User.id == user_id, User.password_hash == verified, User.active)
        .with_for_update(key_share=True)
    )
    if user is None:
        return None
    session.execute(delete(Login).where(Login.user_id == user_id, Login.expires_at < func.now()))
    login = uuid4()
    session.execute(insert(Login).values(id=login, user_id=user_id, expires_at=func.now() + ttl))
    return _grant(session, user, login, ttl)


def rotate(session: Session, refresh_token: str, ttl: timedelta) -> Grant | None:
    """Spend a refresh token and hand out the next.

    Returns:
        None where it is refused. One that had been spent was copied by somebody: its whole login is
        then revoked, which the caller must commit.
    """
    sha256 = tokens.digest(refresh_token)
    found = session.execute(
        select(Login.id, Login.user_id)
        .join(RefreshToken, RefreshToken.login_id == Login.id)
        .where(RefreshToken.sha256 == sha256)
    ).first()
    if found is None:
        return None
    user = session.scalar(
        select(User).where(User.id == found.user_id, User.active).with_for_update(read=True)
    )
    if user is None or not _spend(session, sha256):
        return None
    session.execute(update(Login).where(Login.id == found.id).values(expires_at=func.now() + ttl))
    return _grant(session, user, found.id, ttl)


def _spend(session: Session, sha256: bytes) -> bool:
    token = session.get(RefreshToken, sha256, with_for_update=True)
    if token is None:
        return False
    if token.used_at is not None:
        revoke_login(session, token.login_id)
        return False
    alive = select(Login.id).where(Login.id == token.login_id, Login.revoked_at.is_(None))
    spent = session.execute(
        update(RefreshToken)
        .where(RefreshToken.sha256 == sha256, RefreshToken.expires_at > func.now(), alive.exists())
        .values(used_at=func.now())
        .returning(RefreshToken.login_id)
    )
    return spent.first() is not None


def _grant(session: Session, user: User, login: UUID, ttl: timedelta) -> Grant:
    secret = tokens.new_refresh_token()
    issued = session.execute(
        insert(RefreshToken)
        .values(sha256=tokens.digest(secret), login_id=login, expires_at=func.now() + ttl)
        .returning(func.clock_timestamp())
    ).scalar_one()
    principal = Principal(user.id, user.username, Role(user.role), login=login)
    return Grant(principal, login, issued, secret)


def revoke_login(session: Session, login: UUID) -> None:
    session.execute(
        update(Login)
        .where(Login.id == login, Login.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )


def set_password(session: Session, actor: str, username: str, password_hash: str) -> None:
    """Give an active user another password, as an operator; ends every sign-in. API keys stay.

    Raises:
        NotFound: no active user of that name.
    """
    user = user_named(session, username)
    if user is None:
        raise NotFound(f"There is no active user {username}.")
    session.refresh(user, with_for_update={"key_share": True})
    user.password_hash = password_hash
    user.tokens_valid_after = func.clock_timestamp()
    _revoke_logins(session, user.id)
    session.flush()
    audit.record(session, actor, "user.password_set", f"user:{user.id}")


def _revoke_logins(session: Session, user_id: int) -> None:
    session.execute(
        update(Login)
        .where(Login.user_id == user_id, Login.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )


# API keys


def create_key(
    session: Session, owner: Principal, *, name: str, scopes: Iterable[Scope], days: int
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is stored nowhere."""
    secret = tokens.new_api_key()
    key = session.scalars(
        insert(ApiKey)
        .values(
            user_id=owner.id,
            name=name,
            prefix=secret[: tokens.SHOWN_CHARACTERS],
            sha256=tokens.digest(secret),
            scopes=sorted(set(scopes)),
            expires_at=func.now() + timedelta(days=days),
        )
        .returning(ApiKey)
    ).one()
    audit.record(session, owner, "key.created", f"key:{key.id}", name=name, scopes=key.scopes)
    return key, secret


def keys_of(session: Session, user_id: int) -> Sequence[ApiKey]:
    """Newest first, the revoked and expired ones too."""
    return session.scalars(
        select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc())
    ).all()


def revoke_key(session: Session, owner: Principal, key_id: int) -> None:
    """Idempotent. Raises NotFound where the key is somebody else's."""
    key = session.get(ApiKey, key_id, with_for_update=True)
    if key is None or key.user_id != owner.id:
        raise NotFound(f"You have no API key {key_id}.")
    if key.revoked_at is None:
        key.revoked_at = func.now()
        audit.record(session, owner, "key.revoked", f"key:{key_id}", name=key.name)


def _revoke_keys(session: Session, user_id: int) -> None:
    session.execute(
        update(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
