"""What goes wrong around a row is not the row's doing: no misfortune fails, blames or keeps it."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import RootModel
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from backend.db import make_engine
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Done, Isolation, Pipeline, Step
from backend.queue.retry import Died, Unreachable
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import PARCEL, PROBE, save
from workers.assignment import Assignment, Policy
from workers.daemon import Daemon

TTL = timedelta(seconds=2)
LONG = timedelta(seconds=30)


def finish(_row_id: int, _tools: None) -> Done:
    return Done({})


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def parcels(run: Any = finish, saved: Any = save) -> Pipeline:
    step = Step("inspect", run, save=saved)
    return Pipeline(queue=PARCEL, steps=(step,), load=lambda _session, row_id: row_id)


def probes(first: Any = finish, second: Any = finish, saved: Any = save) -> Pipeline:
    steps = (Step("first", first, save=saved), Step("second", second, save=saved))
    return Pipeline(queue=PROBE, steps=steps, load=lambda _session, row_id: row_id)


def daemon(engine: Engine, *pipelines: Pipeline, **policy: Any) -> Daemon:
    policy = {"ttl": TTL, "concurrency": 4, "interval": timedelta(seconds=0.2), **policy}
    beating = policy.pop("beat_engine", None)
    assignments = [Assignment(p) for p in pipelines]
    return Daemon(engine, engine, assignments, Policy(**policy), beat_engine=beating)


def finished(rows: Rows, queue: Queue = PROBE) -> bool:
    return set(rows.statuses(queue).values()) == {queue.done}


class Once:
    """A ``save`` that suffers one misfortune and then works."""

    def __init__(self, misfortune: Any) -> None:
        self._misfortune, self.suffered = misfortune, 0

    def __call__(self, session: Session, lease: Lease, result: Any) -> None:
        self.suffered += 1
        if self.suffered == 1:
            self._misfortune(session)
        save(session, lease, result)


def read_only(session: Session) -> None:
    """As after a failover to a standby, or when a provider's disk is full."""
    session.execute(text("SET LOCAL transaction_read_only = on"))


def freeze(_session: Session) -> None:
    """As a machine that sleeps between two statements."""
    threading.Event().wait(TTL.total_seconds() + 0.3)


def revoked(session: Session) -> None:
    session.execute(text("SET LOCAL ROLE pg_read_all_stats"))


@pytest.mark.parametrize("misfortune", [read_only, freeze, revoked])
def test_a_commit_that_the_database_refuses_for_its_own_reasons_fails_no_row(
    rows: Rows, engine: Engine, misfortune: Any
) -> None:
    row_id = rows.one(max_attempts=2)
    once = Once(misfortune)
    worker = daemon(engine, probes(saved=once))
    worker.start()
    try:
        eventually(lambda: rows.row(row_id).status in ("finished", "broken"))
    finally:
        worker.drain()
    assert once.suffered > 1
    assert (rows.row(row_id).status, rows.row(row_id).error) == ("finished", None)
    assert worker.healthy


def test_a_step_that_exits_the_interpreter_costs_an_attempt_and_keeps_no_lease(
    rows: Rows, engine: Engine
) -> None:
    row_id = rows.one(PARCEL, max_attempts=1)
    worker = daemon(engine, parcels(lambda _row_id, _tools: sys.exit("a library gave up")))
    worker.start()
    try:
        eventually(lambda: rows.row(row_id, PARCEL).status == "returned", within=5)
    finally:
        worker.drain()
    assert rows.row(row_id, PARCEL).failure == "exhausted"
    assert "a library gave up" in rows.row(row_id, PARCEL).error


def test_a_row_that_kills_its_worker_cannot_hide_behind_a_host_that_is_down(rows: Rows) -> None:
    row_id = rows.one(max_attempts=2)
    for _ in range(2):
        rows.settle(leases.after_error(rows.claim_one(), Died("SIGSEGV")))
        rows.change(row_id, available_at=ago("1 second"))
    suspect = rows.claim_suspect()
    assert suspect is not None
    rows.settle(leases.after_error(suspect, Unreachable("down", retry_after=TTL)))

    assert rows.row(row_id).stalls == 2


def test_what_is_released_after_a_step_was_committed_has_that_steps_counts(
    rows: Rows, engine: Engine
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def second(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(20)
        return Done({})

    row_id = rows.one(attempts=2, max_attempts=4, stalls=1)
    worker = daemon(engine, probes(second=second), grace=timedelta(0))
    worker.start()
    assert running.wait(10)
    worker.drain()
    go_on.set()

    row = rows.row(row_id)
    assert (row.status, row.step) == ("waiting", "first")
    assert (row.attempts, row.stalls) == (0, 0)


@pytest.fixture
def narrow(database_url: str) -> Iterator[Engine]:
    """Fewer connections than threads."""
    engine = make_engine(database_url, pool_size=2, application_name="worker under test")
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_steps_that_wait_for_a_lock_of_another_take_no_connection_from_the_heartbeat(
    rows: Rows, engine: Engine, narrow: Engine
) -> None:
    added, ttl = rows.add(count=8), timedelta(seconds=4)
    worker = daemon(narrow, probes(), concurrency=8, beat_engine=engine, ttl=ttl)
    with engine.connect() as locker:
        locker.execute(text("LOCK TABLE probe_effects"))
        worker.start()
        eventually(lambda: "working" in rows.statuses().values())
        deadline = time.monotonic() + 2 * ttl.total_seconds()
        silent = 0.0
        while time.monotonic() < deadline:
            threading.Event().wait(0.1)
            silent = max(silent, worker.silence)
    try:
        eventually(lambda: finished(rows), within=30)
    finally:
        worker.drain()
    assert silent < ttl.total_seconds()
    assert {tuple(rows.outcomes(row_id)) for row_id in added} == {("done",)}


@pytest.mark.slow
def test_a_queue_that_has_drained_takes_no_child_from_another_that_has_not(
    rows: Rows, engine: Engine
) -> None:
    def step(stage: str) -> Step:
        return Step(stage, sleep, isolation=Isolation.PROCESS, result=str, timeout=LONG)

    def pipeline(queue: Queue, seconds: float) -> Pipeline:
        steps = tuple(step(stage.name) for stage in queue.stages)
        return Pipeline(
            queue=queue, steps=steps, load=lambda _session, _id: RootModel[float](seconds)
        )

    worker = daemon(engine, pipeline(PARCEL, 0.0), pipeline(PROBE, 1.5), children=1)
    rows.one(PARCEL)
    worker.start()
    eventually(lambda: finished(rows, PARCEL))
    row_id = rows.one()
    eventually(lambda: rows.row(row_id).status == "working" and worker._children._idle == deque())
    worker.drain()

    assert [line.outcome for line in rows.history() if line.queue == "probe"] == ["done"]


def test_a_row_that_somebody_has_locked_keeps_no_other_from_being_claimed_and_settled(
    rows: Rows, engine: Engine
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def run(row_id: int, _tools: None) -> Done:
        if row_id == locked:
            running.set()
            assert go_on.wait(20)
        return Done({})

    locked = rows.one(PARCEL)
    worker = daemon(engine, parcels(run, saved=None))
    worker.start()
    try:
        assert running.wait(10)
        with rows.sessions.begin() as session:
            session.execute(text("SELECT 1 FROM parcel WHERE id = :id FOR UPDATE"), {"id": locked})
            go_on.set()
            others = rows.add(PARCEL, 4)
            eventually(
                lambda: {rows.row(row_id, PARCEL).status for row_id in others} == {"delivered"},
                within=1.5,
            )
        eventually(lambda: finished(rows, PARCEL))
    finally:
        worker.drain()
    assert {tuple(rows.outcomes(row_id)) for row_id in (locked, *others)} == {("done",)}


REFUSE_THRICE = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'delivered' AND nextval('refusals') <= 3 THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = 'XX000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
def refused_thrice(engine: Engine) -> Iterator[None]:
    """The database refuses three settlements by its own fault: a turn, the batch, then its row."""
    with engine.begin() as connection:
        connection.exec_driver_sql(REFUSE_THRICE)
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION refuse CASCADE; DROP SEQUENCE refusals")


@pytest.mark.usefixtures("refused_thrice")
def test_a_settlement_that_the_database_refuses_for_its_own_reasons_is_another_attempt(
    rows: Rows, engine: Engine
) -> None:
    row_id = rows.one(PARCEL, max_attempts=2)
    worker = daemon(engine, parcels(saved=None))
    worker.start()
    try:
        eventually(lambda: rows.row(row_id, PARCEL).status in ("delivered", "returned"))
    finally:
        worker.drain()
    assert rows.row(row_id, PARCEL).status == "delivered"
    assert rows.outcomes(row_id) == ["retry", "done"]
