"""``lockkeeper migrate`` with DATABASE_LOGINS: each part gets a login that may do its part."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError, ProgrammingError

from backend.db import make_engine
from backend.migrations.run import head
from tests.command_line import Finished, environment, error_line, lockkeeper
from tests.compose import BASE, resolved
from tests.conftest import open_directory
from tests.role_server import role_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[URL]:
    """An empty database, as a user who may make roles."""
    with open_directory() as folder, role_server(folder / "data") as url:
        yield make_url(url)


def of(url: URL, user: str, password: str) -> str:
    login = url.set(drivername="postgresql", username=user, password=password)
    return login.render_as_string(hide_password=False)


def migrate(url: URL, home: Path, logins: str) -> Finished:
    said = url.render_as_string(hide_password=False)
    env = environment(home, DATABASE_URL=said, DATABASE_LOGINS=logins)
    return lockkeeper("migrate", "--json", env=env)


def run(url: str, statement: str) -> Sequence[object]:
    engine = make_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    try:
        with engine.begin() as connection:
            return connection.execute(text(statement)).scalars().all()
    finally:
        engine.dispose()


def roles_of(url: URL, login: str) -> set[object]:
    ours = url.render_as_string(hide_password=False).replace("+psycopg2", "")
    return set(run(ours, f"""
    SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE pg_get_userbyid(member) = '{login}'
    """))  # fmt: skip


def test_logins_are_made_kept_and_brought_in_line(url: URL, tmp_path: Path) -> None:
    api, worker = of(url, "api", "first"), of(url, "worker", "word")
    before = migrate(url, tmp_path, f"api,publisher={api} vetter,tasks={worker}")
    assert json.loads(before.stdout) == {
        "from": None, "to": head(), "logins": ["api", "worker"],
    }  # fmt: skip
    assert run(api, "SELECT count(*) FROM users") == [0]
    assert run(worker, "SELECT count(*) FROM package_status") == [0]
    with pytest.raises(ProgrammingError, match="permission denied"):
        run(worker, "UPDATE users SET role = 'admin'")

    changed = of(url, "api", "sec%26ond")
    after = migrate(url, tmp_path, f"api={changed} vetter,tasks={worker}")

    assert json.loads(after.stdout)["logins"] == ["api", "worker"]
    assert roles_of(url, "api") == {"lockkeeper_api"}
    assert roles_of(url, "worker") == {"lockkeeper_tasks", "lockkeeper_vetter"}
    assert run(changed, "SELECT count(*) FROM users") == [0]
    with pytest.raises(OperationalError, match="password authentication failed"):
        run(api, "SELECT 1")


def test_the_one_who_makes_them_stays_as_it_is(url: URL, tmp_path: Path) -> None:
    assert url.username
    assert url.password
    own = of(url, url.username, url.password)
    before = roles_of(url, url.username)

    finished = migrate(url, tmp_path, f"api={of(url, url.username, 'another')}")

    assert json.loads(finished.stdout)["logins"] == []
    assert roles_of(url, url.username) == before
    assert run(own, "SELECT 1") == [1]


def test_a_wrong_entry_stops_it_before_anything_is_done(url: URL, tmp_path: Path) -> None:
    finished = migrate(url, tmp_path, f"api={of(url, 'lockkeeper_api', 'hidden')}")

    assert finished.returncode == 2
    assert error_line(finished).startswith("DATABASE_LOGINS: entry 1")
    assert "hidden" not in finished.stderr


def test_the_logins_of_the_compose_file_are_made_and_check_finds_nothing(
    url: URL, tmp_path: Path
) -> None:
    names = ("api", "worker", "publisher", "splunk_worker", "task_worker")
    urls = {
        f"{name.removesuffix('_worker').upper()}_DATABASE_URL": of(url, name, f"of-{name}")
        for name in names
    }
    ours = url.render_as_string(hide_password=False)
    variables = dict.fromkeys(
        ("POSTGRES_PASSWORD", "JWT_SECRET", "METRICS_TOKEN", "WEBHOOK_KEY", "SPLUNK_KEY",
         "TASK_KEY"), "x" * 40,
    )  # fmt: skip
    services = resolved(BASE, environment={**variables, **urls, "DATABASE_URL": ours})["services"]

    finished = migrate(url, tmp_path, services["migrate"]["environment"]["DATABASE_LOGINS"])

    assert json.loads(finished.stdout)["logins"] == sorted(names)
    checked = lockkeeper("roles", "check", env=environment(tmp_path, DATABASE_URL=ours))
    assert checked.returncode == 0, checked.stdout
    for name in names:
        assert len(roles_of(url, name)) == (5 if name == "worker" else 2 if "task" in name else 1)
