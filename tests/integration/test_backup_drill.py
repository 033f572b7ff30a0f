"""The runbook of backups does what it says, command by command."""

import sys
from pathlib import Path

import pytest

from tests.conftest import open_directory
from tests.drill.backup import drill, steps


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
