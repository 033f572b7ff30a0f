from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions, make_engine
from tests.integration.queue.ledger import eventually

ADD = Statement("INSERT INTO rate_limits VALUES (%(key)s, now()) RETURNING key")
KEYS = Statement("SELECT key FROM rate_limits ORDER BY key")
SLEEP = Statement("SELECT pg_sleep(%(seconds)s)")
PREPARED = Statement("""
    SELECT generic_plans + custom_plans AS executions FROM pg_prepared_statements
    WHERE statement ~ 'FROM rate_limit[s]' AND statement NOT LIKE '%%[s]%%'
""")


@pytest.fixture
def engine(database_url: str) -> Engine:
    """With one connection: what is said of it is said of the next statement's as well."""
    return make_engine(database_url, pool_size=1)


@pytest.fixture
def statements(engine: Engine) -> Autocommit:
    return Autocommit(engine)


def test_a_statement_is_committed_when_it_has_answered(
    statements: Autocommit, sessions: Sessions
) -> None:
    assert [row.key for row in statements.rows(ADD, {"key": "it's 100 %"})] == ["it's 100 %"]

    with sessions.begin() as session:
        assert session.scalar(text("SELECT key FROM rate_limits")) == "it's 100 %"


def test_a_session_on_the_same_connection_is_a_transaction_even_so(
    statements: Autocommit, sessions: Sessions
) -> None:
    statements.rows(ADD, {"key": "kept"})
    with sessions() as session:
        session.execute(text("INSERT INTO rate_limits VALUES ('rolled back', now())"))
        session.rollback()

    assert [row.key for row in statements.rows(KEYS, {})] == ["kept"]


def test_a_statement_is_prepared_once_on_each_connection(statements: Autocommit) -> None:
    for _ in range(3):
        statements.rows(KEYS, {})

    assert [row.executions for row in statements.rows(PREPARED, {})] == [3]


def test_a_statement_that_two_threads_made_at_once_is_one(statements: Autocommit) -> None:
    twin = Statement("SELECT key FROM rate_limits ORDER BY key")

    for statement in (KEYS, twin, KEYS):
        assert statements.rows(statement, {}) == []

    assert [row.executions for row in statements.rows(PREPARED, {})] == [3]


def test_a_statement_whose_columns_have_other_types_since_answers_even_so(
    statements: Autocommit, engine: Engine
) -> None:
    statements.rows(KEYS, {})
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rate_limits ALTER key TYPE varchar(99)"))

    assert statements.rows(KEYS, {}) == []


def test_statements_are_sent_as_they_are_where_none_stays_prepared(
    statements: Autocommit, engine: Engine
) -> None:
    statements.rows(KEYS, {})
    with engine.begin() as connection:  # what a pooler's other connection looks like
        connection.execute(text("DEALLOCATE ALL"))

    assert statements.rows(KEYS, {}) == []
    assert statements.rows(PREPARED, {}) == []


def test_a_statement_that_takes_too_long_is_ended(engine: Engine) -> None:
    statements = Autocommit(engine, limit=timedelta(milliseconds=50))

    with pytest.raises(OperationalError) as ended:
        statements.rows(SLEEP, {"seconds": 30})

    assert getattr(ended.value.orig, "pgcode", None) == "57014"
    assert statements.rows(KEYS, {}) == []


def test_a_statement_that_fails_leaves_nothing_and_names_no_value(statements: Autocommit) -> None:
    statements.rows(ADD, {"key": "twice"})

    with pytest.raises(DBAPIError) as failed:
        statements.rows(ADD, {"key": "twice"})

    assert failed.value.params is None
    assert [row.key for row in statements.rows(KEYS, {})] == ["twice"]


def test_a_connection_that_is_kept_is_replaced_when_the_server_ended_it(engine: Engine) -> None:
    statements = Autocommit(engine, keep=1)
    who = Statement("SELECT pg_backend_pid() AS pid")
    first, again = (statements.rows(who, {})[0].pid for _ in range(2))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})

    assert again == first
    assert statements.rows(who, {})[0].pid != first


def test_a_connection_that_is_kept_ends_with_its_pool(engine: Engine, sessions: Sessions) -> None:
    (row,) = Autocommit(engine, keep=1).rows(Statement("SELECT pg_backend_pid() AS pid"), {})
    engine.dispose()

    left = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    with sessions.begin() as session:
        eventually(lambda: session.scalar(left, {"pid": row.pid}) == 0)
