"""What a database has granted to our roles, and which objects there are to grant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, text

Kind = Literal["SCHEMA", "TABLE", "SEQUENCE", "FUNCTION", "FUTURE TABLES"]

PUBLIC: Final = "PUBLIC"
"""Everybody; PostgreSQL lets them execute every function unless that is revoked."""

MAINTAIN: Final = 170_000
"""The server's version from which there is the privilege MAINTAIN: see its release notes."""


class Right(NamedTuple):
    """One privilege of one role on one object; ``name`` as SQL writes it, ``column`` maybe none."""

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
_GRANTED: Final = text("""
WITH granted AS (
  SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name, '' AS attribute, NULL::oid AS owner,
    acl.*
  FROM pg_namespace, aclexplode(nspacl) AS acl
  WHERE nspname = current_schema()
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
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END AS role,
  kind, name, privilege_type AS privilege, attribute
FROM granted
WHERE (owner IS NULL OR pg_get_userbyid(owner) = :owner)
  AND (pg_get_userbyid(grantee) = ANY (:roles) OR grantee = 0 AND kind = 'FUNCTION')
""")
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
    """What ``roles`` have been granted on what ``owner`` has, and everybody on functions."""
    found = connection.execute(_GRANTED, {"owner": owner, "roles": [*roles]})
    return {Right(*row) for row in found}
