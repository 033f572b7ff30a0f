"""``migrate``, ``user add``, ``api`` and ``worker`` as processes of their own."""

import json
from pathlib import Path

import pytest

from backend.db import Sessions
from backend.identity import passwords, service
from backend.migrations.run import head
from tests.command_line import Finished, environment, error_line, lockkeeper

NOBODY_THERE = "postgresql://somebody:pass-phrase@127.0.0.1:9/nothing"


@pytest.mark.slow
def test_migrate_says_from_where_to_where(empty_database_url: str, tmp_path: Path) -> None:
    env = environment(tmp_path, DATABASE_URL=empty_database_url)

    lacking = lockkeeper("migrate", "--check", "--json", env=env)
    first = lockkeeper("migrate", env=env)
    second = lockkeeper("migrate", "--check", env=env)
    third = lockkeeper("migrate", "--json", env=env)

    assert lacking.returncode == 1
    assert json.loads(lacking.stdout)["pending"][-1]["revision"] == head()
    assert (first.returncode, first.stdout) == (0, f"nothing → {head()}\n")
    assert (second.returncode, second.stdout) == (0, f"already at {head()}\n")
    assert json.loads(third.stdout) == {"from": head(), "to": head(), "logins": []}


@pytest.mark.parametrize("command", [["migrate"], ["user", "add", "anna"]])
def test_a_database_that_cannot_be_reached_is_exit_code_three(
    command: list[str], tmp_path: Path
) -> None:
    finished = lockkeeper(*command, env=environment(tmp_path, DATABASE_URL=NOBODY_THERE))

    assert finished.returncode == 3
    assert "cannot reach the database" in error_line(finished)
    assert "pass-phrase" not in finished.stderr


@pytest.mark.parametrize("command", [["migrate"], ["user", "add", "anna"], ["worker"]])
def test_a_wrong_setting_is_exit_code_two_and_never_shown(
    command: list[str], tmp_path: Path
) -> None:
    env = environment(tmp_path, DATABASE_URL="mysql://a:pass-phrase@b/c", LEASE_TTL="soon")

    finished = lockkeeper(*command, env=env)

    assert finished.returncode == 2
    assert "LEASE_TTL" in error_line(finished)
    assert "pass-phrase" not in finished.stderr


def test_an_api_without_a_secret_refuses_to_start(database_url: str, tmp_path: Path) -> None:
    finished = lockkeeper("api", env=environment(tmp_path, DATABASE_URL=database_url))

    assert finished.returncode == 2
    assert "JWT_SECRET is not set" in error_line(finished)


def test_a_worker_for_an_unknown_queue_refuses_to_start(database_url: str, tmp_path: Path) -> None:
    broker = {"REDIS_URL": "redis://:pass-phrase@broker/0", "CELERY_BROKER_URL": "amqp://broker"}
    env = environment(tmp_path, DATABASE_URL=database_url, WORKER_TYPE="carpentry", **broker)

    finished = lockkeeper("worker", env=env)

    assert finished.returncode == 2
    assert "carpentry is not served" in finished.stderr
    assert finished.stderr.count("settings.ignored") == 1
    assert "CELERY_BROKER_URL" in finished.stderr
    assert "pass-phrase" not in finished.stderr


def add(url: str, home: Path, *arguments: str, given: str = "") -> Finished:
    env = environment(home, DATABASE_URL=url)
    return lockkeeper("user", "add", *arguments, env=env, input=given)


def test_a_user_gets_a_random_password_that_is_printed_once_and_works(
    database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    finished = add(database_url, tmp_path, "anna", "--role", "approver", "--json")

    told = json.loads(finished.stdout)
    with sessions() as session:
        user = service.user_named(session, "anna")
        assert user is not None
        assert user.role == told["role"] == "approver"
        assert passwords.matches(user.password_hash, told["password"])


def test_a_password_from_standard_input_is_not_printed(
    database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    given = "correct horse battery staple"

    finished = add(database_url, tmp_path, "bert", "--password-stdin", given=f"{given}\n")

    assert finished.stdout == "added bert as user\n"
    with sessions() as session:
        user = service.user_named(session, "bert")
        assert user is not None
        assert passwords.matches(user.password_hash, given)


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (["cleo", "--password-stdin"], "short\n", 1, "A password has 12 to 1024 characters"),
        (["cleo", "--password-stdin"], "", 2, "there is no password on standard input"),
        (["no spaces"], "", 1, "A username is 1 to 64 letters"),
        (["cleo", "--role", "king"], "", 2, "'king' is not one of"),
    ],
)
def test_a_user_that_cannot_be_added_is_one_line(
    database_url: str, tmp_path: Path, arguments: list[str], given: str, code: int, said: str
) -> None:
    finished = add(database_url, tmp_path, *arguments, given=given)

    assert finished.returncode == code
    assert said in error_line(finished)


def test_a_name_that_is_taken_is_refused(database_url: str, tmp_path: Path) -> None:
    add(database_url, tmp_path, "dora")

    finished = add(database_url, tmp_path, "DORA")

    assert finished.returncode == 1
    assert error_line(finished) == "The username DORA is taken."


def test_an_operator_gives_somebody_another_password(
    database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    add(database_url, tmp_path, "dora")
    env = environment(tmp_path, DATABASE_URL=database_url)

    told = json.loads(lockkeeper("user", "password", "dora", "--json", env=env).stdout)
    nobody = lockkeeper("user", "password", "nemo", env=env)

    with sessions() as session:
        user = service.user_named(session, "dora")
        assert user is not None
        assert passwords.matches(user.password_hash, told["password"])
    assert nobody.returncode == 1
    assert error_line(nobody) == "There is no active user nemo."
