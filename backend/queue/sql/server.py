"""What PostgreSQL says about itself: its catalogue and its statistics views.

``:tables`` are names of tables; their partitions are always meant, too.
"""

from typing import Final

from sqlalchemy import text

REVISION_TABLE: Final = text("SELECT to_regclass('alembic_version') IS NOT NULL")
REVISION: Final = text("SELECT version_num FROM alembic_version")

READ_ONLY: Final = text("SET TRANSACTION READ ONLY")
STATEMENT_TIMEOUT: Final = text("SELECT set_config('statement_timeout', :milliseconds, true)")

EXISTING: Final = text(
    "SELECT name FROM unnest(CAST(:tables AS text[])) name"
    " WHERE to_regclass(quote_ident(name)) IS NOT NULL"
)

CONSTRAINTS: Final = text("""
SELECT c.conname AS name, t.relname AS table_name, c.convalidated AS valid,
       pg_get_constraintdef(c.oid) AS definition
FROM unnest(CAST(:tables AS text[])) named
JOIN pg_class t ON t.oid = to_regclass(quote_ident(named))
JOIN pg_constraint c ON c.conrelid = t.oid
""")

INDEXES: Final = text("""
SELECT i.relname AS name, t.relname AS table_name, x.indisvalid AND x.indisready AS valid,
       x.indisunique AS is_unique, pg_get_expr(x.indpred, x.indrelid) AS predicate,
       ARRAY(SELECT pg_get_indexdef(i.oid, position, true)
             FROM generate_series(1, x.indnkeyatts) position ORDER BY position) AS columns
FROM unnest(CAST(:tables AS text[])) named
JOIN pg_class t ON t.oid = to_regclass(quote_ident(named))
JOIN pg_index x ON x.indrelid = t.oid
JOIN pg_class i ON i.oid = x.indexrelid
""")

SERVER: Final = text("""
SELECT current_setting('server_version') AS version,
       CAST(current_setting('server_version_num') AS integer) / 10000 AS major,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       CAST(current_setting('max_connections') AS integer)
       - CAST(current_setting('superuser_reserved_connections') AS integer) AS most
""")

# What a role may not see of others' sessions is null: then only how far back xmin lies counts.
OLD_TRANSACTIONS: Final = text("""
SELECT pid, usename, application_name, state, backend_type, xact_start, query_start,
       extract(epoch FROM clock_timestamp() - xact_start) AS seconds,
       backend_xmin IS NOT NULL AS pins, age(backend_xmin) AS transactions
FROM pg_stat_activity
WHERE pid <> pg_backend_pid()
  AND (datname = current_database() OR backend_type = 'walsender')
  AND backend_type NOT IN ('autovacuum worker', 'parallel worker')
  AND (xact_start < clock_timestamp() - CAST(:longest AS interval)
       OR xact_start IS NULL AND age(backend_xmin) > :transactions)
ORDER BY xact_start NULLS LAST
""")

# Whoever locks a row is named in its xmax; several at once have a number of their own there.
LOCKERS: Final = text("""
SELECT pid, application_name, CAST(backend_xid AS text) AS xid,
       extract(epoch FROM clock_timestamp() - xact_start) AS seconds
FROM pg_stat_activity
WHERE CAST(backend_xid AS text) = ANY(CAST(:xids AS text[])) AND pid <> pg_backend_pid()
""")

PREPARED: Final = text("""
SELECT gid, owner, prepared, extract(epoch FROM clock_timestamp() - prepared) AS seconds
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - CAST(:longest AS interval)
ORDER BY prepared
""")

# An active slot follows; one that nobody reads keeps rows and write-ahead log for ever.
SLOTS: Final = text("""
SELECT slot_name, slot_type, active,
       greatest(age(xmin), age(catalog_xmin)) AS transactions
FROM pg_replication_slots
WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL OR restart_lsn IS NOT NULL)
   OR greatest(age(xmin), age(catalog_xmin)) > :transactions
ORDER BY slot_name
""")

_TREE = """
tree AS (
    SELECT t.oid FROM unnest(CAST(:tables AS text[])) named
    JOIN pg_class t ON t.oid = to_regclass(quote_ident(named))
    UNION
    SELECT inhrelid FROM pg_inherits JOIN tree ON tree.oid = inhparent)
"""

DEAD_TUPLES: Final = text(f"""
WITH RECURSIVE {_TREE}
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead,
       greatest(last_autovacuum, last_vacuum) AS vacuumed_at,
       current_setting('autovacuum') = 'on' AS autovacuum
FROM pg_stat_user_tables JOIN tree ON tree.oid = relid
WHERE n_dead_tup > greatest(:least, :share * n_live_tup)
ORDER BY n_dead_tup DESC
""")  # noqa: S608 - one constant within another

# A B-tree entry: line pointer 4, header 8, and the columns, aligned to 8; pages nine tenths full.
BLOAT: Final = text(f"""
WITH RECURSIVE {_TREE},
sized AS (
    SELECT i.relname AS name, t.relname AS table_name, i.reltuples AS entries,
           pg_relation_size(i.oid) AS bytes,
           CAST(current_setting('block_size') AS bigint) AS page,
           (SELECT sum(CASE WHEN a.attlen > 0 THEN a.attlen ELSE coalesce(s.avg_width, 32) END)
            FROM pg_attribute a
            LEFT JOIN pg_stats s ON s.schemaname = CAST(t.relnamespace::regnamespace AS text)
                                AND s.tablename = t.relname AND s.attname = a.attname
            WHERE a.attrelid = i.oid) AS width
    FROM tree
    JOIN pg_index x ON x.indrelid = tree.oid
    JOIN pg_class t ON t.oid = tree.oid
    JOIN pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i'
    JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'),
estimated AS (
    SELECT name, table_name, entries, bytes,
           page * (2 + ceil(entries * (12 + 8 * ceil(width / 8.0)) / (0.9 * page))) AS needed
    FROM sized WHERE entries >= 0)
SELECT name, table_name, CAST(entries AS bigint) AS entries, bytes,
       CAST(needed AS bigint) AS needed
FROM estimated WHERE bytes > :least AND bytes > :ratio * needed
ORDER BY bytes DESC
""")  # noqa: S608 - one constant within another
