"""Real worker processes that are killed or told to stop in the middle of work."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text

from backend.db import Sessions
from tests.conftest import REPOSITORY
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import effects
from tests.integration.queue.victim_worker import TTL

Worker = subprocess.Popen[bytes]


@pytest.fixture
def start_process(database_url: str) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        program = [sys.executable, "-m", "tests.integration.queue.victim_worker", database_url]
        started.append(subprocess.Popen(program, cwd=REPOSITORY, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_workers_rows_are_done_by_another_and_every_effect_is_there_once(
    rows: Rows,
    sessions: Sessions,
    start_process: Callable[[], Worker],
    capsys: pytest.CaptureFixture[str],
) -> None:
    added = rows.add(count=120)
    victim, survivor = start_process(), start_process()

    def applied() -> int:
        with sessions.begin() as session:
            return len(effects(session))

    def holders() -> set[str | None]:
        return {rows.row(row_id).leased_by for row_id in added} - {None}

    eventually(lambda: applied() >= 40 and len(holders()) == 2)
    victim.kill()
    victim.wait()
    killed_at = time.monotonic()

    eventually(lambda: set(rows.statuses().values()) == {"finished"}, within=25)
    took = time.monotonic() - killed_at
    with capsys.disabled():
        print(f"\nafter SIGKILL every row was done within {took:.1f} s (lease {TTL})")  # noqa: T201 - a figure worth seeing
    assert survivor.poll() is None
    with sessions.begin() as session:
        assert effects(session) == {(i, step): 1 for i in added for step in ("first", "second")}
    lines = Counter(rows.outcomes())
    assert lines["done"] == len(added)
    assert lines["stalled"] >= 1
    assert took < TTL.total_seconds() + 8


def test_a_worker_told_to_stop_hands_everything_back_and_exits_with_zero(
    rows: Rows, sessions: Sessions, start_process: Callable[[], Worker], engine: Engine
) -> None:
    added = rows.add(count=200)
    process = start_process()
    with sessions.begin() as session:
        assert effects(session) == {}
    eventually(lambda: "finished" in rows.statuses().values())

    process.terminate()
    assert process.wait(10) == 0
    statuses = Counter(rows.statuses().values())
    assert set(statuses) <= {"waiting", "finished"}
    assert statuses["waiting"] > 0
    with sessions.begin() as session:
        assert set(effects(session).values()) == {1}
        assert session.scalar(text("SELECT count(*) FROM workers")) == 0
    assert "stalled" not in rows.outcomes()
    assert len(rows.statuses()) == len(added)
