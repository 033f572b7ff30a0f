"""Bring a database to the schema of this release; safe to call from several processes at once."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from backend.database_roles import granting
from backend.database_roles.rights import OWNER
from backend.db import Base, network_limits
from backend.migrations.online import Pending
from backend.queue.retention import is_partition
from backend.settings import psycopg2_url
from backend.workloads import discover

HERE = Path(__file__).parent
VERSIONS = HERE / "versions"

_LOCK_TIMEOUT = "2s"  # a migration that waits for a lock makes everybody else wait behind it
_STATEMENT_TIMEOUT = "10min"  # what takes longer is better done by hand, and looked at first
_LOCK_ATTEMPTS = 10
_PAUSE = 1.0  # seconds, jittered, in which the others get through
_TURN_TIMEOUT = 120.0  # seconds, for another migrator to finish
_TRY_TURN = text("SELECT pg_try_advisory_xact_lock(:key)")
_ADVISORY_LOCK = 0x6C6F636B6B  # "lockk"; shared by every release

_MODELS_OF_THE_HOUSE = (
    "backend.identity.model",
    "backend.audit.model",
    "backend.queue.attempts",
    "backend.queue.fleet",
)

_LOCK_NOT_AVAILABLE, _DEADLOCK_DETECTED = "55P03", "40P01"
_QUERY_CANCELED = "57014"


class MigrationError(Exception):
    """The database cannot be migrated; one line that says why and what to do."""


def upgrade(url: str) -> None:
    """Apply, each in its own transaction, the migrations that the database lacks.

    Where the database is under the group roles, it is done in the owner's name, and what is new is
    granted to the others at the end.

    No migration waits longer than 2 s for a lock; it gives way and is tried again, ten times. No
    statement of one takes longer than ten minutes.

    Raises:
        MigrationError: the schema is newer than this release, a lock could not be had, a statement
            took too long, or another migrator took over two minutes.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached, or a migration failed.
    """
    engine = _engine(url)
    try:
        with _our_turn(engine):
            _refuse_newer(_current(engine))
            for attempt in range(1, _LOCK_ATTEMPTS + 1):
                if _tried(engine, last=attempt == _LOCK_ATTEMPTS):
                    _grant(engine)
                    return
                time.sleep(_PAUSE * random.uniform(0.5, 1.5))
    finally:
        engine.dispose()


def current(url: str) -> str | None:
    """The revision that the database is at; None where no migration ever ran."""
    engine = _engine(url)
    try:
        return _current(engine)
    finally:
        engine.dispose()


def pending(url: str) -> list[Pending]:
    """What :func:`upgrade` would apply, in its order; nothing is changed.

    Raises:
        MigrationError: the schema is newer than this release.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached.
    """
    found = current(url)
    _refuse_newer(found)
    newest_first = ScriptDirectory.from_config(_config()).iterate_revisions("head", found or "base")
    missing = [script for script in newest_first if script.revision != found]
    return [Pending.of(script.revision, script.doc) for script in reversed(missing)]


def head() -> str:
    """The revision that this release needs.

    Raises:
        MigrationError: this release has no migrations.
    """
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise MigrationError("this release has no migrations")
    return newest


def target_metadata() -> MetaData:
    """The schema as the models declare it; importing them is what declares it."""
    for module in _MODELS_OF_THE_HOUSE:
        import_module(module)
    discover()
    return Base.metadata


def is_declared(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic compares it with the models: workers make partitions as weeks go by."""
    return kind != "table" or name is None or not is_partition(name)


def _engine(url: str) -> Engine:
    url = psycopg2_url(url)
    connect_args = {**network_limits(url), "application_name": "lockkeeper-migrate"}
    return create_engine(url, poolclass=NullPool, connect_args=connect_args)


def _config() -> Config:
    config = Config()
    for name, path in (("script_location", HERE), ("version_locations", VERSIONS)):
        config.set_main_option(name, str(path).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")  # so that a path may hold spaces
    return config


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if len(found) > 1:
        raise MigrationError(
            f"alembic_version names {' and '.join(sorted(found))}:"
            " leave it the one that the schema is at"
        )
    return found[0] if found else None


def _refuse_newer(revision: str | None) -> None:
    if revision is None:
        return
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError:
        raise MigrationError(
            f"the database is at revision {revision}, which this release does not know:"
            " run the release that migrated it, or a newer one"
        ) from None


@contextmanager
def _our_turn(engine: Engine) -> Iterator[None]:
    """Hold the migrators' lock in a transaction of its own.

    Not a session lock: behind pgBouncer in transaction mode that would stay with a connection
    which is somebody else's by the next statement. Nor is it waited for in a transaction, whose
    snapshot would keep the other one from building its indexes.
    """
    latest = time.monotonic() + _TURN_TIMEOUT
    with engine.connect() as connection:
        while not connection.scalar(_TRY_TURN, {"key": _ADVISORY_LOCK}):
            connection.rollback()
            if time.monotonic() > latest:
                raise MigrationError(
                    f"another migrator has been at work for {_TURN_TIMEOUT:.0f} s: wait for it,"
                    " then try again"
                )
            time.sleep(_PAUSE * random.uniform(0.5, 1.5))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield


def _tried(engine: Engine, *, last: bool) -> bool:
    """Whether everything is applied; False when a lock was not to be had. What was done stays."""
    try:
        with engine.connect() as connection:
            settings = (
                f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"
                f"; SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'{_in_whose_name(engine)}"
            )
            _begin_with(connection, settings)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        if _sqlstate(error) == _QUERY_CANCELED:
            raise MigrationError(
                f"a statement took longer than {_STATEMENT_TIMEOUT}, and its migration was undone:"
                " stop what else keeps the database busy, then try again"
            ) from None
        if _sqlstate(error) not in {_LOCK_NOT_AVAILABLE, _DEADLOCK_DETECTED}:
            raise
        if last:
            raise MigrationError(
                f"a table stayed locked through {_LOCK_ATTEMPTS} attempts:"
                " look for long transactions in pg_stat_activity, then try again"
            ) from None
        return False
    return True


def _in_whose_name(engine: Engine) -> str:
    with engine.connect() as connection:
        return f'; SET LOCAL ROLE "{OWNER}"' if granting.governed(connection) else ""


def _begin_with(connection: Connection, settings: str) -> None:
    @event.listens_for(connection, "begin")
    def _set(connection: Connection) -> None:
        connection.exec_driver_sql(settings)


def _grant(engine: Engine) -> None:
    with engine.begin() as connection:
        if granting.governed(connection):
            granting.align(connection)


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "pgcode", None)
