"""What a database has granted to our roles, and which objects there are to grant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, text

Kind = Literal["SCHEMA", "TABLE", "SEQUENCE", "FUNCTION", "FUTURE TABLES"]

MAINTAIN: Final = 170_000
"""The server's version from which there is the privilege MAINTAIN: see its release notes."""


class Right(NamedTuple):
    """One privilege of one role on one object; ``name`` as SQL writes it, ``column`` maybe none.

    The role PUBLIC is everybody: PostgreSQL lets them execute every function unless it is revoked.
    """

    role: str
    kind: Kind
    name: str
    privilege: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The owner's objects in the current schema, each as SQL writes it.

    ``functions`` has the signatures of each name. ``maintainable`` says whether the server knows
    MAINTAIN.
    """

    schema: str
    tables: Sequence[str]
    sequences: Sequence[str]
    functions: Mapping[str, Sequence[str]]
    maintainable: bool


_SCHEMA: Final = text("SELECT quote_ident(current_schema())")
_RELATIONS: Final = text("""
SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, quote_ident(relname) AS name
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
  AND pg_get_userbyid(relowner) = :owner
ORDER BY name
""")
_FUNCTIONS: Final = text("""
SELECT proname AS name, oid::regprocedure::text AS signature
FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
  AND pg_get_userbyid(proowner) = :owner
  AND NOT EXISTS (SELECT FROM pg_depend
                  WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
ORDER BY signature
""")
_MEMBERS: Final = """WITH RECURSIVE parts AS (
  SELECT oid FROM pg_roles WHERE rolname = ANY (:roles)
), members AS (
  SELECT oid FROM parts
  UNION SELECT m.member FROM pg_auth_members m JOIN members ON members.oid = m.roleid
)"""
# Beside the roles: everybody, and whoever is a member of one without being the owner's.
_GRANTED: Final = text(f"""
{_MEMBERS}, grantees AS (
  SELECT 0 AS oid
  UNION SELECT oid FROM members
  WHERE oid IN (SELECT oid FROM parts) OR NOT pg_has_role(oid, :owner, 'MEMBER')
), granted AS (
  SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name, '' AS attribute, NULL::oid AS owner,
    acl.*
  FROM pg_namespace, aclexplode(nspacl) AS acl
  WHERE nspname = current_schema() AND NOT (grantee = 0 AND privilege_type = 'USAGE')
  UNION ALL
  SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, quote_ident(relname), '',
    relowner, acl.*
  FROM pg_class, aclexplode(relacl) AS acl
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
  UNION ALL
  SELECT 'TABLE', quote_ident(relname), quote_ident(attname), relowner, acl.*
  FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) AS acl
  WHERE relnamespace = current_schema()::regnamespace
  UNION ALL
  SELECT 'FUNCTION', pg_proc.oid::regprocedure::text, '', proowner, acl.*
  FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
  WHERE pronamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass
                    AND objid = pg_proc.oid AND deptype = 'e')
  UNION ALL
  SELECT 'FUTURE TABLES', quote_ident(current_schema()), '', defaclrole, acl.*
  FROM pg_default_acl, aclexplode(defaclacl) AS acl
  WHERE defaclobjtype = 'r' AND defaclnamespace = current_schema()::regnamespace
)
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role,
  kind, name, privilege, attribute
FROM granted, unnest(ARRAY[
  privilege_type, CASE WHEN is_grantable THEN 'GRANT OPTION FOR ' || privilege_type END
]) AS privilege
WHERE (owner IS NULL OR pg_get_userbyid(owner) = :owner)
  AND grantee IN (SELECT oid FROM grantees) AND privilege IS NOT NULL
""")  # noqa: S608 - constants of this module
# What a role may do to the server is above all that is granted here. Statistics are nobody's data.
_POWERS: Final = text(f"""
{_MEMBERS}, powers AS (
  SELECT r.oid, power
  FROM pg_roles r, unnest(ARRAY[
    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
    CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END
  ]) AS power
  WHERE power IS NOT NULL
  UNION ALL
  SELECT m.member, 'member of ' || quote_ident(granted.rolname)
  FROM pg_auth_members m JOIN pg_roles granted ON granted.oid = m.roleid
  WHERE granted.rolname <> ALL (:roles)
    AND (m.member IN (SELECT oid FROM parts) OR starts_with(granted.rolname, 'pg_'))
    AND granted.rolname NOT IN
      ('pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_use_reserved_connections')
    AND NOT (granted.rolname = :owner AND pg_get_userbyid(m.member) = ANY (:as_owner))
)
SELECT quote_ident(pg_get_userbyid(oid)), power FROM powers
WHERE oid IN (SELECT oid FROM parts)
  OR oid IN (SELECT oid FROM members) AND NOT pg_has_role(oid, :owner, 'MEMBER')
ORDER BY 1, 2
""")  # noqa: S608 - constants of this module
_VERSION: Final = text("SELECT current_setting('server_version_num')::int")


def catalog(connection: Connection, owner: str) -> Catalog:
    """What ``owner`` has in the current schema."""
    relations = connection.execute(_RELATIONS, {"owner": owner}).all()
    functions: dict[str, list[str]] = {}
    for name, signature in connection.execute(_FUNCTIONS, {"owner": owner}):
        functions.setdefault(name, []).append(signature)
    return Catalog(
        schema=connection.scalars(_SCHEMA).one(),
        tables=[row.name for row in relations if row.kind == "TABLE"],
        sequences=[row.name for row in relations if row.kind == "SEQUENCE"],
        functions=functions,
        maintainable=connection.scalars(_VERSION).one() >= MAINTAIN,
    )


def granted(connection: Connection, owner: str, roles: Sequence[str]) -> set[Right]:
    """What ``roles``, their members and everybody have been granted on what ``owner`` has."""
    found = connection.execute(_GRANTED, {"owner": owner, "roles": [*roles]})
    return {Right(*row) for row in found}


def powers(
    connection: Connection, owner: str, roles: Sequence[str], *, as_owner: Sequence[str]
) -> list[tuple[str, str]]:
    """Roles and members of theirs, each with a power of its own beside what is granted here.

    Args:
        as_owner: those of ``roles`` that may be members of ``owner``.
    """
    given = {"owner": owner, "roles": [*roles], "as_owner": [*as_owner]}
    return [(role, power) for role, power in connection.execute(_POWERS, given)]
