"""The runbook of backups does what it says, command by command."""

import sys
from pathlib import Path

import pytest

from backend.database_roles.founding import found
from backend.db import make_engine
from backend.migrations.run import upgrade
from tests.command_line import lockkeeper
from tests.conftest import open_directory
from tests.drill.backup import carry_out, drill, steps, where
from tests.role_server import role_server


def test_the_runbook_has_the_steps_of_a_drill() -> None:
    assert list(steps()) == ["Back up", "Restore", "Look before anybody works"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="stops processes by /proc")
def test_a_house_at_work_is_backed_up_restored_and_works_on() -> None:
    with open_directory() as folder:
        seen = drill(Path(folder))

    assert "read back: 3 artifacts" in seen
    assert seen[-1] == "worked on: {'Pending Approval': 4}"


@pytest.mark.slow
def test_a_database_under_the_roles_is_restored_where_there_are_none(tmp_path: Path) -> None:
    """The roles are the old server's: none is there on a new one until they are made anew."""
    before, after, backup = (tmp_path / name for name in ("before", "after", "backup"))
    for folder in ("storage", "cache"):
        (before / folder).mkdir(parents=True)
    with open_directory() as servers:
        with role_server(servers / "old") as url:
            upgrade(url)
            engine = make_engine(url)
            with engine.begin() as connection:
                found(connection)
            engine.dispose()
            carry_out("Back up", where(plain(url), before, backup, tmp_path))
        with role_server(servers / "new") as url:
            carry_out("Restore", where(plain(url), after, backup, tmp_path))
            env = where(plain(url), after, backup, tmp_path)
            made = lockkeeper("roles", "create", env=env)
            checked = lockkeeper("roles", "check", env=env)

    assert made.returncode == 0, made.stderr
    assert (checked.returncode, checked.stdout) == (0, "as this release grants it\n")


def plain(url: str) -> str:
    return url.replace("+psycopg2", "")
