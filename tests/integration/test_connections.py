"""How a connection begins and ends transactions, and what the pool does with one in a bad state."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from backend.db import make_engine, make_sessions, single

PID = text("SELECT pg_backend_pid()")
TRANSACTION = text("SELECT txid_current()")
IDLE_LIMIT = text("SHOW idle_in_transaction_session_timeout")
STATEMENT_LIMIT = text("SHOW statement_timeout")
LIMIT = timedelta(seconds=4)


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """With one connection: whoever comes next is given what the last one left."""
    engine = make_engine(empty_database_url, pool_size=1)
    yield engine
    engine.dispose()


MOMENTS = (
    "2026-11-23 20:31:36.000001+00", "2026-11-23 20:31:36.5+00", "2026-01-01 00:00:00-11:30",
    "1890-06-01 12:00:00+00", "0001-01-03 00:00:00+00", "9999-12-30 23:59:59.999999+00", "infinity",
    "-infinity", None,
)  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_a_moment_is_what_the_drivers_own_reading_gives(engine: Engine, zone: str) -> None:
    """In 1890 clocks went by the sun, some seconds off any zone of today."""
    asked = "SELECT set_config('TimeZone', %s, false), CAST(%s AS timestamptz)"
    plain = psycopg2.connect(engine.url.set(drivername="postgresql").render_as_string(False))
    with closing(plain), plain.cursor() as cursor, engine.connect() as connection:
        for moment in MOMENTS:
            cursor.execute(asked, (zone, moment))
            [(_, expected)] = cursor.fetchall()
            (_, found) = connection.exec_driver_sql(asked, (zone, moment)).one()
            assert found == expected
            assert found is None or found.utcoffset() == expected.utcoffset()


def driver_of(connection: Connection) -> Any:
    return connection.connection.driver_connection


def test_a_connection_whose_transaction_failed_unseen_by_the_driver_is_replaced(
    engine: Engine,
) -> None:
    with engine.connect() as connection:
        used = connection.scalar(PID)
        driver = driver_of(connection)
        connection.rollback()
        # As a COMMIT may leave it that the statement_timeout ended: the driver thinks it idle.
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute("BEGIN")
            with pytest.raises(driver.DataError):
                cursor.execute("SELECT 1 / 0")
        driver.autocommit = False

    with engine.connect() as connection:
        assert connection.scalar(PID) != used


def test_a_connection_that_the_server_has_just_ended_is_replaced_unnoticed(
    engine: Engine, empty_database_url: str
) -> None:
    with engine.connect() as connection:
        used = connection.scalar(PID)
    other = make_engine(empty_database_url, pool_size=1)
    with other.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": used})
    other.dispose()

    with engine.connect() as connection:
        assert connection.scalar(PID) != used


def test_a_transaction_has_its_limits_and_the_next_one_of_the_connection_has_not(
    engine: Engine,
) -> None:
    with make_sessions(engine, limit=LIMIT).begin() as session:
        assert (session.scalar(IDLE_LIMIT), session.scalar(STATEMENT_LIMIT)) == ("4s", "2s")

    with make_sessions(engine).begin() as session:
        assert (session.scalar(IDLE_LIMIT), session.scalar(STATEMENT_LIMIT)) == ("0", "0")


def test_many_executions_of_one_statement_have_the_limits_too(engine: Engine) -> None:
    with make_sessions(engine, limit=LIMIT).begin() as session:
        session.connection().exec_driver_sql("SELECT %(n)s", [{"n": 1}, {"n": 2}])
        assert session.scalar(STATEMENT_LIMIT) == "2s"


def test_a_savepoint_may_come_first(engine: Engine) -> None:
    with make_sessions(engine, limit=LIMIT).begin() as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        assert session.scalar(STATEMENT_LIMIT) == "2s"


def test_a_transaction_whose_statement_failed_takes_no_more_until_it_is_rolled_back(
    engine: Engine,
) -> None:
    with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1 / 0"))
        with pytest.raises(DBAPIError, match="aborted"):
            connection.execute(PID)
        connection.rollback()
        assert connection.scalar(PID)


def test_what_follows_a_statement_that_cannot_be_parsed_is_in_a_transaction_all_the_same(
    engine: Engine,
) -> None:
    with engine.connect() as connection:
        with pytest.raises(ProgrammingError):
            connection.execute(text("SELEKT"))
        assert connection.scalar(TRANSACTION) == connection.scalar(TRANSACTION)
        connection.execute(text("CREATE TABLE kept (n int)"))
        connection.rollback()
        assert connection.scalar(text("SELECT to_regclass('kept')")) is None


def test_an_isolation_level_is_the_one_that_was_asked_for(engine: Engine) -> None:
    level = text("SHOW transaction_isolation")
    for asked in ("REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED"):
        with engine.connect().execution_options(isolation_level=asked) as connection:
            assert connection.scalar(level) == asked.lower()
    with engine.connect() as connection:
        assert connection.scalar(level) == "read committed"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.scalar(TRANSACTION) != connection.scalar(TRANSACTION)


def test_autocommit_on_a_connection_that_breaks_ends_in_an_error_of_sqlalchemys(
    engine: Engine,
) -> None:
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(OperationalError), autocommit.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_single_statement_is_a_transaction_with_a_limit_and_leaves_nothing_open(
    engine: Engine,
) -> None:
    sessions = make_sessions(engine, limit=LIMIT)
    with single(sessions) as session, session.begin():
        assert session.scalar(STATEMENT_LIMIT) == "2s"
        assert session.scalar(TRANSACTION) != session.scalar(TRANSACTION)
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        assert not driver_of(session.connection()).left_open

    with sessions.begin() as session:
        assert session.scalar(TRANSACTION) == session.scalar(TRANSACTION)
