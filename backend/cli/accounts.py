"""Our own admin and user: made the first time, known again afterwards."""

import secrets

from sqlalchemy.orm import Session

from backend.cli.folder import Credentials, Folder
from backend.db import make_engine, make_sessions
from backend.identity import passwords, service
from backend.identity.roles import Role
from backend.problems import Conflict
from backend.settings import psycopg2_url

ROLES = (Role.ADMIN, Role.USER)


def ensure(url: str, folder: Folder) -> dict[str, Credentials]:
    """One account per role, each with a password that works in this database.

    Where the name is taken by somebody else, ours gets a suffix: ``user-3fa2b1c0``.
    """
    kept = folder.credentials()
    engine = make_engine(psycopg2_url(url), pool_size=1, application_name="lockkeeper-up")
    try:
        with make_sessions(engine).begin() as session:
            accounts = {role.value: _account(session, role, kept.get(role)) for role in ROLES}
            if accounts != kept:
                folder.keep_credentials(accounts)  # before the commit: else they would be lost
    finally:
        engine.dispose()
    return accounts


def _account(session: Session, role: Role, kept: Credentials | None) -> Credentials:
    if kept is not None and _works(session, role, kept):
        return kept
    password = secrets.token_urlsafe(18)
    password_hash = passwords.hashed(password)
    for name in (role.value, f"{role.value}-{secrets.token_hex(4)}"):
        try:
            service.create_user(
                session, "lockkeeper up", username=name, password_hash=password_hash, role=role
            )
        except Conflict:
            continue
        return Credentials(name, password)
    raise Conflict(
        f"The username {role} is taken, and so is the other one that was tried: try again."
    )


def _works(session: Session, role: Role, kept: Credentials) -> bool:
    user = service.user_named(session, kept.username)
    return (
        user is not None
        and user.role == role
        and passwords.matches(user.password_hash, kept.password)
    )
