"""Connections that lead to a server which takes no writes: nobody keeps them, nobody crashes.

A database that is set to read-only stands in for a standby: the server refuses with the same code,
and a connection that was made then stays as it is when others may write again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InternalError
from structlog.testing import capture_logs

from backend.autocommit import Autocommit, Statement
from backend.cli.errors import UNREACHABLE, CommandError, database_errors
from backend.db import Sessions, make_engine, make_sessions
from backend.web.app import create_app
from tests.callers import make_settings
from workers.database import worth_repeating

ADD = text("INSERT INTO rate_limits VALUES (:key, now())")
PUT = Statement("INSERT INTO rate_limits VALUES (%(key)s, now()) RETURNING key")
ALL = 3  # connections


@pytest.fixture
def pooled(engine: Engine, database_url: str) -> Iterator[Engine]:
    """All connections of its pool lead to a server that takes no writes; new ones would write."""
    pooled = make_engine(database_url, pool_size=ALL)
    with taking_no_writes(engine):
        connections = [pooled.connect() for _ in range(ALL)]
        for connection in connections:
            connection.close()
    yield pooled
    pooled.dispose()


@contextmanager
def taking_no_writes(engine: Engine) -> Iterator[None]:
    name = make_url(str(engine.url)).database
    for value in ("on", "off"):
        with engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.commit()
            connection.execute(
                text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
            )
            connection.commit()
            connection.invalidate()
        if value == "on":
            yield


@pytest.fixture
def caller(pooled: Engine) -> FlaskClient:
    return create_app(make_settings(), make_sessions(pooled)).test_client()


def test_the_first_write_that_is_refused_throws_all_of_them_away(pooled: Engine) -> None:
    with pytest.raises(InternalError) as refused, pooled.begin() as connection:
        connection.execute(ADD, {"key": "refused"})

    assert worth_repeating(refused.value)
    kept = [pooled.connect() for _ in range(ALL)]
    for number, connection in enumerate(kept):
        connection.execute(ADD, {"key": str(number)})
        connection.commit()
        connection.close()


def test_so_does_a_statement_by_itself(pooled: Engine) -> None:
    statements = Autocommit(pooled, keep=1)

    with pytest.raises(InternalError):
        statements.rows(PUT, {"key": "refused"})

    for number in range(ALL):
        assert statements.rows(PUT, {"key": str(number)})
    with pooled.connect() as first, pooled.connect() as second:
        assert {c.scalar(text("SHOW transaction_read_only")) for c in (first, second)} == {"off"}


def test_a_request_is_told_to_come_again_and_then_it_is_served(
    caller: FlaskClient, sessions: Sessions
) -> None:
    login = {"username": "nobody", "password": "wrong"}

    assert caller.get("/ready").status_code == 200  # it reads
    with capture_logs() as said:
        refused = caller.post("/api/auth/login", json=login)
    again = caller.post("/api/auth/login", json=login)

    problem = refused.get_json()
    assert (refused.status_code, problem["code"]) == (503, "unavailable")
    assert "takes no writes" in problem["detail"]
    assert refused.headers["Retry-After"] == "5"
    assert "request.crashed" not in {line["event"] for line in said}
    assert again.status_code == 401


def test_a_command_says_so_in_one_line(pooled: Engine) -> None:
    with (
        pytest.raises(CommandError, match="the database takes no writes") as refused,
        database_errors(),
        pooled.begin() as connection,
    ):
        connection.execute(ADD, {"key": "refused"})

    assert refused.value.exit_code == UNREACHABLE
