"""Workers that are killed in the middle of firing: processes, SIGKILL, and a clock that jumps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.tasks.schedule_clock import Clock, every, moment
from tests.integration.tasks.task_house import TaskHouse

WORKERS = Path(__file__).with_name("schedule_workers.py")
START = "2031-10-25T23:30:00+00:00"
"""Half an hour before the clocks of Berlin say two o'clock for the first time."""


@pytest.mark.slow
def test_no_time_is_missed_or_doubled_by_workers_that_are_killed(
    task_house: TaskHouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(task_house, START)
    task_house.database.run("DELETE FROM schedules")
    expressions = [
        ("* * * * *", "UTC"),
        ("*/5 2 * * *", "Europe/Berlin"),
        ("30 2 * * *", "Europe/Berlin"),
    ]
    made = {
        clock.schedule(
            cron, timezone=zone, catch_up="all", task_type="aggregate_ari_snapshots"
        ): (cron, zone)
        for cron, zone in expressions
    }  # fmt: skip
    url = task_house.engine.url.render_as_string(hide_password=False)
    ended = subprocess.run(
        [sys.executable, WORKERS, url, START, "7"],
        capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": "."},
    )  # fmt: skip
    told = json.loads(ended.stdout.splitlines()[-1])
    latest = moment(told["clock"])
    clock.look(latest)  # what the last ones were killed at

    counts = {}
    for schedule, (cron, zone) in made.items():
        times = every(cron, zone, START, latest)
        counts[cron] = len(times), clock.tasks(schedule)
        assert [*clock.fires(schedule)] == times
        assert set(clock.outcomes(schedule)) == {"submitted"}
        assert clock.tasks(schedule) == len(times)
    assert clock.all_tasks() == sum(due for due, _ in counts.values())
    assert told["killed"] > 20
    with capsys.disabled():  # to be read by whoever asks what that test has seen
        said = ", ".join(
            f"{cron!r}: {due} due, {done} tasks" for cron, (due, done) in counts.items()
        )
        sys.stdout.write(f"\n{told['killed']} workers killed; {said}\n")
