"""``doctor``: its exit codes, and what it prints for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backend.cli.doctor import checks
from tests.command_line import Finished, environment, error_line, lockkeeper

Doctor = Callable[..., Finished]

OTHER_VERSION = (
    "INSERT INTO workers (name, hostname, pid, version, queues)"
    " VALUES (E'old\\x1b[31m', 'h', 1, '0.0.1', ARRAY['packages'])"
)
BROKEN = "DROP INDEX ix_package_status_held"


@pytest.fixture
def doctor(database_url: str, tmp_path: Path) -> Doctor:
    def run(*arguments: str) -> Finished:
        return lockkeeper(
            "doctor", *arguments, env=environment(tmp_path, DATABASE_URL=database_url)
        )

    return run


def test_a_healthy_database_is_exit_code_zero_and_says_what_was_checked(doctor: Doctor) -> None:
    finished = doctor()

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("All well. Checked: ")
    said = " ".join(finished.stdout.split())
    assert all(name in said for name in checks())


def test_warnings_alone_are_exit_code_zero_and_cannot_control_the_terminal(
    doctor: Doctor, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text(OTHER_VERSION))

    finished = doctor()

    assert finished.returncode == 0
    assert "worker-version" in finished.stdout
    assert "0 errors, 1 warning." in finished.stdout
    assert "\x1b" not in finished.stdout


def test_an_error_is_exit_code_one_and_json_tells_everything(
    doctor: Doctor, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text(OTHER_VERSION))
        connection.execute(text(BROKEN))

    finished = doctor("--json")

    assert finished.returncode == 1
    told = json.loads(finished.stdout)
    assert told["checked"] == list(checks())
    assert [(f["severity"], f["code"]) for f in told["findings"]] == [
        ("error", "index-missing"),
        ("warning", "worker-version"),
    ]
    assert told["findings"][0]["facts"]["index"] == "ix_package_status_held"


def test_a_database_without_a_schema_is_exit_code_one(
    empty_database_url: str, tmp_path: Path
) -> None:
    finished = lockkeeper("doctor", env=environment(tmp_path, DATABASE_URL=empty_database_url))

    assert finished.returncode == 1
    assert "lockkeeper migrate" in finished.stdout
    assert "not-checked" in finished.stdout


def test_a_database_that_cannot_be_reached_is_exit_code_three(tmp_path: Path) -> None:
    nobody = "postgresql://somebody:pass-phrase@127.0.0.1:9/nothing"

    finished = lockkeeper("doctor", env=environment(tmp_path, DATABASE_URL=nobody))

    assert finished.returncode == 3
    assert "cannot reach the database" in error_line(finished)
    assert "pass-phrase" not in finished.stderr
