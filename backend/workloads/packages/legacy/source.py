"""Reading a predecessor's database: one snapshot, and nothing is written there."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import make_dsn
from sqlalchemy.engine import make_url

from backend.db import network_limits
from backend.settings import SettingsError, psycopg2_url

TABLES: Final = (
    "users", "supported_licenses", "requests", "packages", "artifacts", "request_packages",
    "package_status", "decisions", "security_scans", "audit_log",
)  # fmt: skip
NEEDED: Final = ("users", "packages", "package_status", "requests", "request_packages")
_AT_ONCE: Final = 2000  # rows
_WITH_DOCUMENTS: Final = ("requests", "security_scans")
_DOCUMENTS_AT_ONCE: Final = 10  # rows, each of which may have megabytes
_DIGITS: Final = 20

# Whatever the server or the role have as their own.
_OURS: Final = """
SET LOCAL timezone = 'UTC'; SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""
_READABLE: Final = """
SELECT tablename FROM pg_tables
WHERE schemaname = current_schema()
  AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')
ORDER BY 1
"""
_COLUMNS: Final = """
SELECT attname, atttypid IN ('json'::regtype, 'jsonb'::regtype)
FROM pg_attribute WHERE attrelid = (
    SELECT oid FROM pg_class WHERE relname = %s AND relkind IN ('r', 'p')
      AND relnamespace = current_schema()::regnamespace)
  AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""
_NUMBERS: Final = ("id", "package_id", "request_id")

Fields = dict[str, Any]


class LegacyError(Exception):
    """The predecessor's database cannot be taken over; one line that says why."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class Source:
    """One repeatable snapshot of the predecessor's tables."""

    def __init__(self, connection: "psycopg2.extensions.connection") -> None:
        self._connection = connection

    def tables(self) -> dict[str, int]:
        """Every table of the schema that is searched and may be read, with its number of rows."""
        counted = sql.SQL("SELECT count(*) FROM {}")
        return {
            name: self._values(counted.format(sql.Identifier(name)))[0]
            for name in map(str, self._values(_READABLE))
        }

    def rows(self, table: str) -> Iterator[Fields]:
        """Every row, whatever its columns are called; moments of time, and JSON, as text.

        Raises:
            LegacyError: a row cannot be read.
        """
        query = self._query(table)
        with self._connection.cursor(f"rows_of_{table}") as cursor:
            cursor.itersize = _DOCUMENTS_AT_ONCE if table in _WITH_DOCUMENTS else _AT_ONCE
            cursor.execute(query)
            try:
                for (row,) in cursor:
                    yield json.loads(row, parse_int=_integer)
            except RecursionError:
                raise LegacyError(f"{table} has a row that cannot be read") from None

    def _query(self, table: str) -> sql.Composed:
        """The same order each time: of two rows that are one here the same one comes first.

        What is JSON there comes as text: nobody there looked at its escapes, or at how deep it is.
        """
        with self._connection.cursor() as cursor:
            cursor.execute(_COLUMNS, [table])
            is_json = dict(cursor.fetchall())
        columns = [
            sql.SQL("{0}::text AS {0}" if nested else "{0}").format(sql.Identifier(name))
            for name, nested in is_json.items()
        ]
        order = [sql.Identifier(name) for name in _NUMBERS if name in is_json]
        return sql.SQL("SELECT row_to_json(t)::text FROM (SELECT {} FROM {} ORDER BY {}) t").format(
            sql.SQL(", ").join(columns),
            sql.Identifier(table),
            sql.SQL(", ").join(order or [sql.SQL("1")]),
        )

    def _values(self, query: "str | sql.Composed") -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return [value for (value,) in cursor]


def _integer(digits: str) -> int | None:
    """None for what is no number of a row, however long it is."""
    return int(digits) if len(digits) <= _DIGITS else None


@contextmanager
def opened(url: str) -> Iterator[Source]:
    """The predecessor's database, to be read.

    Raises:
        LegacyError: it cannot be reached, lacks tables, or is one of our own.
        backend.settings.SettingsError: ``url`` is not a PostgreSQL URL.
    """
    try:
        url = psycopg2_url(url)
    except SettingsError:
        raise SettingsError(
            "the predecessor's is not a PostgreSQL URL: give postgresql://user@host/name"
        ) from None
    dsn = make_dsn(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        **network_limits(url),
        application_name="lockkeeper-import",
        client_encoding="UTF8",
    )
    try:
        connection = psycopg2.connect(dsn)
        with closing(connection):
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            connection.cursor().execute(_OURS)
            source = Source(connection)
            _check(source.tables())
            yield source
    except psycopg2.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LegacyError(
            f"the predecessor's database: {said}",
            unreachable=isinstance(error, psycopg2.OperationalError) and error.pgcode is None,
        ) from None


def _check(tables: dict[str, int]) -> None:
    if "audit_seals" in tables:
        raise LegacyError(
            "this is a database of Lockkeeper's own: move it with pg_dump and pg_restore"
        )
    if missing := [name for name in NEEDED if name not in tables]:
        raise LegacyError(
            f"there is no table {', '.join(missing)} that may be read:"
            " this is not a predecessor's database"
        )
