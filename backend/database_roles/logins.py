"""Makes the logins of the parts, each a member of the roles that its part has, and of no other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from backend.database_roles.rights import PARTS, ROLES
from backend.settings import SettingsError, psycopg2_url

_PREFIX: Final = "lockkeeper_"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# Who may do everything already, or is the one that makes the others.
_STANDING: Final = text(
    "SELECT rolsuper OR rolname = current_user FROM pg_roles WHERE rolname = :name"
)
_HELD: Final = text("""
SELECT pg_get_userbyid(roleid) FROM pg_auth_members
WHERE pg_get_userbyid(member) = :name AND pg_get_userbyid(roleid) = ANY (:roles)
""")


@dataclass(frozen=True, slots=True)
class Login:
    """What a part signs in to the database as, and the group ``roles`` it is in."""

    name: str
    password: str = field(repr=False)
    roles: frozenset[str]


def parsed(said: str) -> list[Login]:
    """``ROLE[,ROLE]=URL`` by spaces, roles without their ``lockkeeper_``; one for each user.

    Raises:
        SettingsError: it is not that; the message holds no password.
    """
    logins: dict[str, Login] = {}
    for number, entry in enumerate(said.split(), start=1):
        try:
            login = _login(entry)
        except ValueError as error:
            raise SettingsError(f"DATABASE_LOGINS: entry {number}: {error}") from None
        known = logins.setdefault(login.name, login)
        if known.password != login.password:
            raise SettingsError(f"DATABASE_LOGINS: {login.name} has two passwords")
        logins[login.name] = replace(known, roles=known.roles | login.roles)
    return list(logins.values())


def _login(entry: str) -> Login:
    words, _, url = entry.partition("=")
    roles = frozenset(_PREFIX + word for word in words.split(","))
    if not roles <= {*PARTS}:
        raise ValueError(f"no such roles; there are {', '.join(map(_short, PARTS))}")
    try:
        user = make_url(psycopg2_url(url))
    except SettingsError:
        raise ValueError("it has no PostgreSQL URL") from None
    if not (user.username and user.password):
        raise ValueError("its URL has no user or no password")
    if not _NAME.fullmatch(user.username) or user.username in ROLES:
        raise ValueError(
            "its user is no login: lower-case letters, digits, _, and not a role's name"
        )
    return Login(user.username, user.password, roles)


def _short(role: str) -> str:
    return role.removeprefix(_PREFIX)


def admit(connection: Connection, logins: Sequence[Login]) -> list[str]:
    """Make those that are not there; set every one's password and roles. The caller commits.

    Returns:
        Their names, but for those that stay as they are: superusers, and the connection's own.

    Raises:
        sqlalchemy.exc.DBAPIError: 42501: the connection's user may not make them.
    """
    admitted = []
    for login in sorted(logins, key=lambda one: one.name):
        standing = connection.scalar(_STANDING, {"name": login.name})
        if standing:
            continue
        if standing is None:
            connection.exec_driver_sql(f'CREATE ROLE "{login.name}"')
        _set_password(connection, login)
        _join(connection, login)
        admitted.append(login.name)
    return admitted


def _set_password(connection: Connection, login: Login) -> None:
    """The server, and so its log, sees a hash alone."""
    raw = cast("Any", connection.connection.dbapi_connection)
    verifier = encrypt_password(login.password, login.name, raw, "scram-sha-256")
    statement = text(f'ALTER ROLE "{login.name}" LOGIN PASSWORD :verifier')
    connection.execute(statement, {"verifier": verifier})


def _join(connection: Connection, login: Login) -> None:
    held = set(connection.scalars(_HELD, {"name": login.name, "roles": [*ROLES]}))
    for role in sorted(held - login.roles):
        connection.exec_driver_sql(f'REVOKE "{role}" FROM "{login.name}"')
    for role in sorted(login.roles - held):
        connection.exec_driver_sql(f'GRANT "{role}" TO "{login.name}"')
