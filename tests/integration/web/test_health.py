import json
import socket
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from backend.db import Sessions, make_engine, make_sessions
from backend.web.app import create_app
from backend.web.health import Probes, schema_is
from tests.callers import make_settings


@pytest.fixture
def dead_client() -> Iterator[FlaskClient]:
    """An API whose database's port is taken by somebody who never listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        engine = make_engine(f"postgresql+psycopg2://nobody@127.0.0.1:{port}/nothing")
        yield create_app(make_settings(), make_sessions(engine)).test_client()
        engine.dispose()


def probing(sessions: Sessions, probes: Probes) -> FlaskClient:
    return create_app(make_settings(), sessions, probes=probes).test_client()


def test_liveness_needs_no_database(dead_client: FlaskClient) -> None:
    assert dead_client.get("/health").get_json() == {"status": "ok"}


def test_it_is_not_ready_without_its_database(dead_client: FlaskClient) -> None:
    answer = dead_client.get("/ready")

    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"] == "5"
    problem = answer.get_json()
    assert problem["code"] == "not-ready"
    assert problem["detail"] == problem["error"] == "Not ready: database."
    assert problem["checks"] == {"database": "failed: OperationalError"}


def test_a_request_without_the_database_is_told_to_come_back(dead_client: FlaskClient) -> None:
    answer = dead_client.post("/api/auth/login", json={"username": "ada", "password": "x"})

    assert answer.status_code == 503
    assert answer.get_json()["code"] == "unavailable"
    assert answer.headers["Retry-After"] == "5"


def test_it_is_ready_when_every_check_passes(sessions: Sessions) -> None:
    client = probing(sessions, Probes(checks={"worker": lambda _session: True}))

    answer = client.get("/ready")

    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ok", "checks": {"database": "ok", "worker": "ok"}}


def test_it_is_not_ready_when_one_check_fails(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("DROP TABLE alembic_version"))
    checks = {"worker": lambda _session: False, "schema": schema_is(lambda: "0002")}
    client = probing(sessions, Probes(checks=checks))

    answer = client.get("/ready")

    assert answer.status_code == 503
    assert answer.get_json()["checks"] == {
        "database": "ok",
        "worker": "failed",
        "schema": "failed: ProgrammingError",
    }


@pytest.mark.parametrize(("stored", "result"), [("0001", "failed"), ("0002", "ok")])
def test_the_schema_is_compared_with_the_newest(
    sessions: Sessions, stored: str, result: str
) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": stored})
    client = probing(sessions, Probes(checks={"schema": schema_is(lambda: "0002")}))

    assert client.get("/ready").get_json()["checks"]["schema"] == result


def test_a_health_answer_is_json(client: FlaskClient) -> None:
    assert json.loads(client.get("/health").data) == {"status": "ok"}
