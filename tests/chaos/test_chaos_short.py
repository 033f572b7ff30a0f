"""A short piece of the random schedule, the same in every run."""

from pathlib import Path

import pytest

from tests.chaos.run import play
from tests.chaos.schedule import WEIGHTS, schedule
from tests.chaos.server import Server
from tests.conftest import open_directory

SEED = 3
SECONDS = 22.0


@pytest.mark.chaos
@pytest.mark.timeout(240)
def test_random_faults_lose_nothing_do_nothing_twice_and_blame_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_directory() as folder, Server(folder) as server:
        server.prepare()
        report = play(server, SECONDS, SEED, tmp_path, every=1.5)

    with capsys.disabled():
        print("\n" + "\n".join(report.lines()))  # noqa: T201 - the seed, and figures worth seeing
    assert report.violations == []
    assert sum(report.faults.values()) >= 5
    assert report.accepted == sum(report.finished.values()) > 50


def test_a_seed_makes_the_same_schedule_again_and_every_kind_comes_in_ten_minutes() -> None:
    faults = schedule(42, 600)

    assert faults == schedule(42, 600)
    assert faults != schedule(43, 600)
    assert len(faults) >= 200
    assert {fault.kind for fault in faults} == set(WEIGHTS)
