"""Makes the group roles, and puts a database under them: its tables become the owner's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from backend.database_roles.catalog import Catalog, catalog
from backend.database_roles.granting import Differences, align
from backend.database_roles.rights import OWNER, ROLES

_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"
# Roles are the whole server's: two databases may be founded at once.
_ONE_AT_A_TIME: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('lockkeeper roles', 0))"
)
_LACKING: Final = text("""
SELECT role FROM unnest(CAST(:roles AS text[])) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) ORDER BY role
""")
_FORMER: Final = text("""
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('alembic_version')
""")
# A superuser needs no membership, and as a member would only be one more way in.
_MEMBERS_TO_BE: Final = text("""
SELECT quote_ident(rolname) FROM pg_roles
WHERE rolname = ANY (ARRAY[CAST(current_user AS text), CAST(:former AS text)]) AND NOT rolsuper
  AND rolname <> :owner
ORDER BY rolname
""")


class NotFoundedError(Exception):
    """The database cannot be put under the roles; one line that says why."""


@dataclass(frozen=True, slots=True)
class Founded:
    """``created`` roles; ``handed_over`` tables, sequences and functions; what was granted."""

    created: Sequence[str]
    handed_over: int
    granted: Differences


def found(connection: Connection) -> Founded:
    """Make the roles that are not there, hand everything to the owner, grant. The caller commits.

    The one who owned the tables becomes a member of the owner, and may do what it could do before.
    Each table is locked for a moment.

    Raises:
        NotFoundedError: nothing was ever migrated.
        sqlalchemy.exc.DBAPIError: 42501: this role may not make roles, or does not own the tables;
            55P03: a table stayed locked for two seconds.
    """
    connection.execute(_ONE_AT_A_TIME)
    connection.exec_driver_sql(_LOCK_TIMEOUT)
    former = connection.scalar(_FORMER)
    if former is None:
        raise NotFoundedError("the database is empty: run `lockkeeper migrate` first")
    created = connection.scalars(_LACKING, {"roles": [*ROLES]}).all()
    for role in created:
        connection.exec_driver_sql(f'CREATE ROLE "{role}" NOLOGIN')
    handed_over = _hand_over(connection, former) if former != OWNER else 0
    return Founded(created, handed_over, align(connection))


def _hand_over(connection: Connection, former: str) -> int:
    for member in connection.scalars(_MEMBERS_TO_BE, {"former": former, "owner": OWNER}).all():
        connection.exec_driver_sql(f'GRANT "{OWNER}" TO {member}')
    theirs = catalog(connection, former)
    connection.exec_driver_sql(f'GRANT USAGE, CREATE ON SCHEMA {theirs.schema} TO "{OWNER}"')
    objects = _objects(theirs)
    for kind, name in objects:
        connection.exec_driver_sql(f'ALTER {kind} {name} OWNER TO "{OWNER}"')
    return len(objects)


def _objects(theirs: Catalog) -> list[tuple[str, str]]:
    """Sequences that belong to a column go with its table."""
    functions = [signature for group in theirs.functions.values() for signature in group]
    return [
        *(("TABLE", table) for table in theirs.tables),
        *(("FUNCTION", signature) for signature in functions),
    ]
