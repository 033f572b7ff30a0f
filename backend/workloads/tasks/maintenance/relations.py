"""Our own tables and their indexes, as the server measures them."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from backend.db import Base

MAINTAIN: Final = 170_000
"""The server's version from which a role may be granted MAINTAIN on a table that it does not own.

Source: the release notes of PostgreSQL 17.
"""

_OWNS_DATABASE: Final = """EXISTS (
  SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE'))"""
_MAY: Final = {
    True: f"(has_table_privilege(c.oid, 'MAINTAIN') OR {_OWNS_DATABASE})",
    False: f"(pg_has_role(c.relowner, 'USAGE') OR {_OWNS_DATABASE})",
}
# A partition is a table like any other; what it is a part of has no bytes.
_OURS: Final = """
WITH named AS (
  SELECT to_regclass(quote_ident(name)) AS oid FROM unnest(CAST(:names AS text[])) AS name),
ours AS (
  SELECT oid FROM named WHERE oid IS NOT NULL
  UNION SELECT inhrelid FROM pg_inherits JOIN named ON inhparent = named.oid)
"""
_TABLES: Final = """
SELECT c.oid, c.oid::regclass::text AS name, c.relkind = 'p' AS parted, {may} AS permitted
FROM ours JOIN pg_class c USING (oid)
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
ORDER BY name
"""
# To be measured, a table is locked as its readers lock it.
_SIZES: Final = text("SELECT pg_table_size(:table) AS own, pg_indexes_size(:table) AS indexes")
_INDEXES: Final = """
SELECT c.oid::regclass::text AS name, i.indisvalid AS valid, i.indisexclusion AS exclusion,
  pg_relation_size(c.oid) AS size
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = :table AND c.relkind = 'i'
ORDER BY name
"""
# So end the names of what an interrupted REINDEX CONCURRENTLY leaves: see PostgreSQL's page on it.
_LEFTOVERS: Final = """
SELECT c.oid::regclass::text AS name
FROM pg_index i JOIN ours ON ours.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname ~ '_cc(new|old)[0-9]*$'
ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Table:
    """``name`` is quoted as need be.

    ``parted``: it has partitions, and no bytes of its own. ``permitted``: this role may maintain
    it.
    """

    oid: int
    name: str
    parted: bool
    permitted: bool


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one table, in bytes; ``own`` is without its indexes."""

    own: int
    indexes: int


@dataclass(frozen=True, slots=True)
class Index:
    """``exclusion``: it holds an exclusion constraint, and cannot be rebuilt beside writers."""

    name: str
    valid: bool
    exclusion: bool
    size: int


def tables(connection: Connection) -> list[Table]:
    """Every table of ours, and every partition, by name. It waits for nobody's lock."""
    may = _MAY[server_version(connection) >= MAINTAIN]
    rows = connection.execute(text(_OURS + _TABLES.format(may=may)), {"names": _names()})
    return [Table(*row) for row in rows]


def sizes(connection: Connection, table: Table) -> Sizes | None:
    """As they are now; None where the table is gone."""
    found = connection.execute(_SIZES, {"table": table.oid}).one()
    return None if found.own is None else Sizes(found.own, found.indexes)


def indexes(connection: Connection, table: Table) -> list[Index]:
    """Those of one table, by name."""
    return [Index(*row) for row in connection.execute(text(_INDEXES), {"table": table.oid})]


def leftovers(connection: Connection) -> list[str]:
    """Names of the invalid indexes that an interrupted REINDEX CONCURRENTLY left."""
    return list(connection.scalars(text(_OURS + _LEFTOVERS), {"names": _names()}))


def server_version(connection: Connection) -> int:
    """As the server counts it: 180000 is 18.0."""
    return int(connection.execute(text("SHOW server_version_num")).scalar_one())


def _names() -> list[str]:
    return sorted(Base.metadata.tables)
