"""A row that stalled twice runs alone in a process of its own, and nobody waits for it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import copy
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import Engine, text

from backend.queue import control
from backend.queue.confinement import children
from backend.queue.pipeline import Done, Pipeline, Step
from tests.conftest import REPOSITORY
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PROBE
from workers import reaping, suspects
from workers.assignment import Assignment, Policy
from workers.daemon import Daemon

Start = Callable[..., Daemon]


@pytest.fixture
def command(database_url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(reaping, "EVERY", 0.05)
    return [sys.executable, "-m", "tests.integration.queue.lone_worker", database_url]


@pytest.fixture
def start(engine: Engine, command: list[str]) -> Iterator[Start]:
    started: list[Daemon] = []

    def start(
        run: Callable[[int, None], Done] = lambda _row, _tools: Done({}), grace: float = 5.0
    ) -> Daemon:
        pipeline = Pipeline(
            queue=PROBE, load=lambda _session, row_id: row_id,
            steps=(Step("first", run), Step("second", run)),
        )  # fmt: skip
        policy = Policy(ttl=timedelta(seconds=2), grace=timedelta(seconds=grace), concurrency=2)
        daemon = Daemon(engine, engine, [Assignment(pipeline)], policy, alone=command)
        daemon.start()
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.drain()


def test_suspects_that_are_innocent_are_done_and_one_that_kills_is_quarantined_with_its_cause(
    rows: Rows, start: Start
) -> None:
    fine = rows.one(stalls=2)
    killer = rows.one(stalls=2, payload="kill")
    leaver = rows.one(stalls=2, payload="exit")
    start()

    eventually(lambda: "waiting" not in rows.statuses().values() and not_held(rows), within=30)
    guilty = {killer: "was killed by SIGKILL", leaver: "exited with 3"}
    assert rows.statuses() == {fine: "finished", **dict.fromkeys(guilty, "broken")}
    assert rows.row(fine).stalls == 0
    for row_id, why in guilty.items():
        row = rows.row(row_id)
        assert row.failure == "poison"
        assert why in row.error
        assert rows.outcomes(row_id) == ["failed"]
    assert {line.worker.rpartition("-")[2] for line in rows.history() if line.worker} == {"alone"}


def not_held(rows: Rows) -> bool:
    return not set(rows.statuses().values()) & set(PROBE.held)


def test_other_rows_go_on_while_a_suspect_runs(rows: Rows, start: Start) -> None:
    suspect = rows.one(stalls=2, payload="wait")
    daemon = start()
    eventually(lambda: rows.row(suspect).status == "working", within=30)
    others = rows.add(count=5)
    daemon._wake("probe")

    eventually(lambda: {rows.statuses()[row_id] for row_id in others} == {"finished"})
    assert rows.row(suspect).status == "working"
    assert daemon.drain() == 0
    assert rows.row(suspect).status == "waiting"
    assert rows.outcomes(suspect) == ["released"]
    assert rows.row(suspect).stalls == 2


def test_suspects_do_not_wait_for_rows_that_run_for_long(rows: Rows, start: Start) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(60)
        return Done({})

    slow_row = rows.one()
    start(slow)
    assert running.wait(10)
    suspect = rows.one(stalls=2)

    eventually(lambda: rows.row(suspect).status == "finished", within=30)
    assert rows.row(slow_row).status == "working"
    go_on.set()


def test_a_process_whose_row_is_gone_meanwhile_ends_at_once(rows: Rows, command: list[str]) -> None:
    rows.one()
    began = time.monotonic()
    process = subprocess.run([*command, "probe", str(uuid4()), "nobody-alone"], check=False)
    assert process.returncode == 0
    assert time.monotonic() - began < 20
    assert rows.history() == []


@pytest.mark.slow
def test_a_suspect_that_hangs_keeps_no_other_waiting_once_its_row_is_taken_from_it(
    rows: Rows, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "STARTING", 5.0)
    hung = rows.one(stalls=2, payload="deaf")
    start(grace=0.5)
    eventually(lambda: rows.row(hung).status == "working", within=30)
    other = rows.one(stalls=2)
    with rows.sessions.begin() as session:
        control.cancel(session, PROBE, [hung], why="it hangs")

    eventually(lambda: rows.row(other).status == "finished", within=30)
    assert rows.outcomes(hung) == ["cancelled"]


@pytest.mark.slow
def test_a_drain_ends_a_process_that_does_not_listen_and_blames_nobody(
    rows: Rows, start: Start
) -> None:
    deaf = rows.one(stalls=2, payload="deaf")
    daemon = start(grace=0.5)
    eventually(lambda: rows.row(deaf).status == "working", within=30)
    (process,) = own_children()
    daemon.drain()

    assert process not in own_children()
    assert (rows.row(deaf).status, rows.row(deaf).stalls) == ("waiting", 2)
    assert rows.outcomes(deaf) == ["released"]


def own_children() -> set[int]:
    said = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()}
    return {pid for pid, command in said.items() if b"lone_worker" in command}


def test_a_process_that_cannot_hand_its_row_back_convicts_nobody(
    rows: Rows, start: Start, engine: Engine, postgres: str
) -> None:
    """It alone loses the database, and cannot come back, while its worker drains."""
    suspect = rows.one(stalls=2, payload="wait")
    daemon = start()
    eventually(lambda: rows.row(suspect).status == "working", within=30)
    name = engine.url.database
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE '%-alone'"
            )
            daemon.drain()
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')

    assert rows.row(suspect).failure is None
    assert rows.outcomes(suspect) == ["released"]


def test_a_suspect_that_somebody_has_locked_is_no_reason_to_start_one_process_after_the_other(
    rows: Rows, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "EVERY", 60.0)
    suspect = rows.one(stalls=2)
    daemon = start()
    with rows.sessions.begin() as session:
        session.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": suspect})
        assert not daemon._suspects._serve(daemon._suspects._assignments[0])


def test_where_no_process_can_be_started_it_is_tried_again(
    rows: Rows, start: Start, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = count(1)

    def full(*_command: object) -> None:
        next(tries)
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", full)
    rows.one(stalls=2)
    daemon = start()

    eventually(lambda: next(copy(tries)) > 3)
    assert daemon.healthy


REFUSE_ONCE = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'broken' AND nextval('refusals') = 1 THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = 'XX000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON probe FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.slow
def test_a_settlement_that_the_database_refuses_for_its_own_reasons_convicts_nobody(
    rows: Rows, engine: Engine, start: Start
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(REFUSE_ONCE)
    try:
        row_id = rows.one(stalls=2, payload="refuse")
        start()
        eventually(lambda: rows.row(row_id).status in ("finished", "broken"), within=30)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP FUNCTION refuse CASCADE; DROP SEQUENCE refusals")
    assert rows.outcomes(row_id) == ["retry", "done"]


def test_suspects_are_found_even_where_nobody_tells_of_them(
    rows: Rows, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for both is busy for minutes where one table is locked."""
    monkeypatch.setattr(suspects, "UNTOLD", 0.01)
    rows.one(stalls=2)
    pipeline = Pipeline(queue=PROBE, steps=(Step("first", print), Step("second", print)))
    daemon = Daemon(engine, engine, [Assignment(pipeline)], Policy(), alone=["true"])
    found, served = threading.Event(), daemon._suspects

    def serve(_assignment: Assignment) -> bool:
        found.set()
        return False

    monkeypatch.setattr(served, "_serve", serve)
    served.start()
    try:
        assert found.wait(10)
    finally:
        served.stop()
        served.join(10)
