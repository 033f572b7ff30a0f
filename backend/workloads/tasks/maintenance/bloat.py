"""How much of a table is room that its rows do not need.

Where the extension pgstattuple is installed and this role may call it, it is measured: free space
and dead rows, as ``pgstattuple_approx`` finds them. Elsewhere it is estimated from what ANALYZE
left in ``pg_stats``, which shows a role only the columns that it may read:

    tuple    = 24 (header) + average widths of the columns, aligned to 8, + 4 (line pointer)
    expected = ceil(rows / floor((page - 24) * fillfactor / tuple)) * page
    bloat    = max(0, size of the table's own file - expected)

Source: "Database Page Layout" in PostgreSQL's documentation.
"""

import math
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backend.workloads.tasks.maintenance import relations
from backend.workloads.tasks.maintenance.relations import Table
from backend.workloads.tasks.maintenance.reorganising import why_not

PAGE_HEADER: Final = 24  # bytes
TUPLE_HEADER: Final = 24
LINE_POINTER: Final = 4
ALIGNED: Final = 8

_EXTENSION: Final = text("""
SELECT quote_ident(n.nspname) || '.pgstattuple_approx' AS function
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pgstattuple_approx'
WHERE e.extname = 'pgstattuple'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
""")
_MEASURED: Final = """
SELECT table_len AS size, approx_free_space + dead_tuple_len AS bloat
FROM {function}(CAST(:oid AS oid)::regclass)
"""
_STATISTICS: Final = text("""
SELECT pg_relation_size(c.oid) AS size, c.reltuples AS rows,
  coalesce((SELECT CAST(option_value AS int) FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'fillfactor'), 100) AS fillfactor,
  CAST(current_setting('block_size') AS int) AS page,
  (SELECT CASE WHEN bool_and(s.attname IS NOT NULL)
               THEN sum((1 - s.null_frac) * s.avg_width) END
   FROM pg_attribute a LEFT JOIN pg_stats s
     ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
       AND NOT s.inherited
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS width
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = :oid
""")


class Bloat(BaseModel):
    """Of one table's own file, without what is stored apart, and without indexes."""

    model_config = ConfigDict(frozen=True)

    table: str
    basis: Literal["measured", "estimated", "unavailable"]
    reason: str | None = Field(None, title="Reason", description="Why it is unavailable.")
    size_bytes: int | None = Field(None, ge=0)
    bloat_bytes: int | None = Field(None, ge=0)
    bloat_percent: float | None = Field(None, ge=0, le=100)


def expected_bytes(rows: float, width: float, *, fillfactor: int, page: int) -> int:
    """What so many rows of this average width (bytes) take; see above."""
    each = TUPLE_HEADER + math.ceil(width / ALIGNED) * ALIGNED + LINE_POINTER
    fit = max(1, math.floor((page - PAGE_HEADER) * fillfactor / 100 / each))
    return math.ceil(rows / fit) * page


def report_of(connection: Connection) -> list[Bloat]:
    """For each table of ours that has bytes, by its name."""
    function = connection.scalar(_EXTENSION)
    tables = [table for table in relations.tables(connection) if not table.parted]
    return [bloat_of(connection, table, function) for table in tables]


def bloat_of(connection: Connection, table: Table, function: str | None) -> Bloat:
    """Of one; ``function`` measures it."""
    try:
        if function and table.permitted:
            return _measured(connection, function, table)
        return _estimated(connection, table)
    except DBAPIError as error:
        return _unavailable(table, why_not(error))


def _measured(connection: Connection, function: str, table: Table) -> Bloat:
    found = connection.execute(text(_MEASURED.format(function=function)), {"oid": table.oid}).one()
    return _of(table, "measured", found.size, int(found.bloat))


def _estimated(connection: Connection, table: Table) -> Bloat:
    found = connection.execute(_STATISTICS, {"oid": table.oid}).one_or_none()
    if found is None:
        return _unavailable(table, "it is gone")
    if found.size == 0:
        return _of(table, "estimated", 0, 0)
    if found.width is None or found.rows < 0:
        why = "it was not analyzed yet, or this role may not read all of its columns"
        return _unavailable(table, why, found.size)
    expected = expected_bytes(found.rows, found.width, fillfactor=found.fillfactor, page=found.page)
    return _of(table, "estimated", found.size, max(0, found.size - expected))


def _unavailable(table: Table, reason: str, size: int | None = None) -> Bloat:
    return Bloat(table=table.name, basis="unavailable", reason=reason, size_bytes=size)


def _of(table: Table, basis: Literal["measured", "estimated"], size: int, bloat: int) -> Bloat:
    return Bloat(
        table=table.name,
        basis=basis,
        size_bytes=size,
        bloat_bytes=bloat,
        bloat_percent=round(100 * bloat / size, 1) if size else 0.0,
    )
