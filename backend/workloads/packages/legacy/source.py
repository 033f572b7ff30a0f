"""Reading a predecessor's database: one snapshot, and nothing is written there."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import make_dsn
from sqlalchemy.engine import make_url

from backend.db import KEEPALIVES
from backend.settings import psycopg2_url

TABLES: Final = (
    "users", "supported_licenses", "requests", "packages", "artifacts", "request_packages",
    "package_status", "decisions", "security_scans", "audit_log",
)  # fmt: skip
NEEDED: Final = ("users", "packages", "package_status", "requests", "request_packages")
_AT_ONCE: Final = 2000  # rows

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
        """Every table of the schema that is searched, with its number of rows."""
        names = self._values(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
        )
        counted = sql.SQL("SELECT count(*) FROM {}")
        return {
            name: self._values(counted.format(sql.Identifier(name)))[0] for name in map(str, names)
        }

    def rows(self, table: str) -> Iterator[Fields]:
        """Every row, whatever its columns are called; moments of time as text."""
        query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table))
        with self._connection.cursor(f"rows_of_{table}") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(query)
            for (row,) in cursor:
                yield row

    def _values(self, query: "str | sql.Composed") -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return [value for (value,) in cursor]


@contextmanager
def opened(url: str) -> Iterator[Source]:
    """The predecessor's database, to be read.

    Raises:
        LegacyError: it cannot be reached, lacks tables, or is one of our own.
        backend.settings.SettingsError: ``url`` is not a PostgreSQL URL.
    """
    dsn = make_dsn(
        make_url(psycopg2_url(url))
        .set(drivername="postgresql")
        .render_as_string(hide_password=False),
        **KEEPALIVES,
        application_name="lockkeeper-import",
        options="-c timezone=UTC",
    )
    try:
        connection = psycopg2.connect(dsn)
        with closing(connection):
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            source = Source(connection)
            _check(source.tables())
            yield source
    except psycopg2.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LegacyError(
            f"the predecessor's database: {said}",
            unreachable=isinstance(error, psycopg2.OperationalError),
        ) from None


def _check(tables: dict[str, int]) -> None:
    if "audit_seals" in tables:
        raise LegacyError(
            "this is a database of Lockkeeper's own: move it with pg_dump and pg_restore"
        )
    if missing := [name for name in NEEDED if name not in tables]:
        raise LegacyError(
            f"there is no table {', '.join(missing)}: this is not a predecessor's database"
        )
