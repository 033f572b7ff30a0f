"""Steps that differ from row to row, say how far they are, and stop when their row is cancelled."""

import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import control
from backend.queue.pipeline import Choice, Done, Isolation, Pipeline, Step
from backend.queue.reporting import interruptible, report
from backend.queue.retry import LeaseLost
from backend.queue.wake import Notifier, cancellation
from backend.queue.writes import Writes
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import ERRAND
from workers.daemon import Assignment, Daemon, Policy
from workers.held import Held
from workers.producer import Producer
from workers.reports import Reports

SOON = 2.0  # seconds within which a cancelled row must have stopped


class Errand(BaseModel):
    id: int
    kind: str


class Told(BaseModel):
    said: str


def speak(errand: dict[str, Any]) -> dict[str, str]:
    report(30, f"errand {errand['id']}\n of many")
    report(99, "too soon after the first word")
    return {"said": "spoken"}


def babble(_errand: dict[str, Any]) -> dict[str, str]:
    """As one that a stranger's bytes took over might: into every pipe it has."""
    words = [b"~", b"~[1]", b'~[true, ""]', b'~[101, "x"]', b"~" + b"9" * 5000, b'~[7, "\\u0000"]']
    for descriptor in range(3, 20):
        for word in words * 20:
            try:
                os.write(descriptor, struct.pack(">I", len(word)) + word)
            except OSError:
                break
    return {"said": "babbled"}


def linger(_errand: dict[str, Any]) -> dict[str, str]:
    report(1, "lingering")
    while True:
        time.sleep(60)


STEPS = {
    run.__name__: Step("run", run, isolation=Isolation.PROCESS, result=Told)
    for run in (speak, babble, linger)
}
Start = Callable[..., Daemon]


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Starts a worker whose rows are of the kind that their fairness key names."""
    daemons: list[Daemon] = []

    def load(session: Session, row_id: int) -> Errand:
        kind = session.scalar(text(f"SELECT fairness_key FROM errand WHERE id = {row_id}"))
        return Errand(id=row_id, kind=kind or "")

    def start(
        here: Callable[..., Any] | None = None, partitions: list[str] | None = None, **more: Any
    ) -> Daemon:
        # Where it has a result, it has rows to store, and is settled by who runs it.
        steps = {**STEPS, "here": Step("run", here, save=lambda *_: None)} if here else STEPS
        choice = Choice("run", lambda errand: steps[errand.kind], timedelta(minutes=5))
        pipeline = Pipeline(queue=ERRAND, load=load, steps=(choice,), batch=1, **more)
        # A lease so long that no heartbeat finds out by its own clock.
        policy = Policy(ttl=timedelta(minutes=2), concurrency=4, grace=timedelta(seconds=1))
        daemon = Daemon(engine, engine, [Assignment(pipeline, partitions)], policy)
        daemon.start()
        daemons.append(daemon)
        return daemon

    yield start
    for daemon in daemons:
        daemon.drain()


def add(rows: Rows, kind: str, queue: str = "alpha") -> int:
    return rows.one(ERRAND, fairness_key=kind, queue=queue)


def status(rows: Rows, row_id: int) -> str:
    return str(rows.row(row_id, ERRAND).status)


def killed(daemon: Daemon) -> float:
    """Children that ended with their rows."""
    samples = (s for family in daemon.metrics.registry.collect() for s in family.samples)
    return sum(s.value for s in samples if "killed" in s.labels.values())


def cancel(sessions: Sessions, engine: Engine, row_id: int) -> None:
    with sessions.begin() as session:
        assert control.cancel(session, ERRAND, [row_id], why="not wanted")
    notifier = Notifier(engine)
    notifier.ready(cancellation(ERRAND.name))
    notifier.close()


def test_a_child_says_how_far_it_is(rows: Rows, start: Start) -> None:
    row_id = add(rows, "speak")
    start()

    eventually(lambda: status(rows, row_id) == "closed")
    row = rows.row(row_id, ERRAND)
    assert (row.progress, row.progress_message) == (30, f"errand {row_id} of many")


def test_what_a_child_babbles_is_no_report_and_harms_no_answer(rows: Rows, start: Start) -> None:
    row_id = add(rows, "babble")
    start()

    eventually(lambda: status(rows, row_id) == "closed")
    assert rows.row(row_id, ERRAND).progress in {0, 7}


def test_a_thread_says_how_far_it_is_and_a_new_attempt_begins_at_nothing(
    rows: Rows, start: Start
) -> None:
    seen: list[tuple[int, str | None]] = []

    def here(errand: Errand, _tools: None) -> Done:
        row = rows.row(errand.id, ERRAND)
        seen.append((row.progress, row.progress_message))
        report(55.7, "half of it")
        row = rows.row(errand.id, ERRAND)
        seen.append((row.progress, row.progress_message))
        if len(seen) == 2:
            raise RuntimeError("once more")
        return Done()

    row_id = add(rows, "here")
    start(here)

    eventually(lambda: status(rows, row_id) == "closed")
    assert seen == [(0, None), (55, "half of it")] * 2


def test_a_cancelled_rows_child_is_killed_at_once(
    rows: Rows, sessions: Sessions, engine: Engine, start: Start
) -> None:
    row_id = add(rows, "linger")
    daemon = start()
    eventually(lambda: rows.row(row_id, ERRAND).progress == 1)
    began = time.monotonic()

    cancel(sessions, engine, row_id)

    eventually(lambda: not daemon._held.count(ERRAND))
    eventually(lambda: killed(daemon) == 1)
    assert time.monotonic() - began < SOON
    assert status(rows, row_id) == "withdrawn"


@pytest.mark.parametrize("how", ["statement", "loop"])
def test_a_cancelled_rows_thread_hears_of_it(
    rows: Rows, sessions: Sessions, engine: Engine, start: Start, how: str
) -> None:
    heard, begun = threading.Event(), threading.Event()

    def here(_errand: Errand, _tools: None) -> Done:
        try:
            with engine.connect() as connection:
                raw: Any = connection.connection.driver_connection
                with interruptible(raw.cancel):
                    begun.set()
                    while True:
                        report(1, "still at it")
                        if how == "statement":
                            connection.execute(text("SELECT pg_sleep(60)"))
        except LeaseLost:
            assert how == "loop"
            heard.set()
            raise
        except Exception:
            heard.set()
            raise

    row_id = add(rows, "here")
    start(here)
    assert begun.wait(10)

    cancel(sessions, engine, row_id)

    assert heard.wait(SOON)
    assert status(rows, row_id) == "withdrawn"


def test_who_is_told_to_stop_has_done_so_when_the_block_ends(rows: Rows, engine: Engine) -> None:
    rows.one(ERRAND)
    lease, held = rows.claim_one(ERRAND), Held()
    held.add([lease])
    Reports(Writes(engine, ttl=timedelta(minutes=1)), held, beat=lambda: None).about(lease)
    late, stopped = threading.Event(), threading.Event()

    def stop() -> None:
        late.wait(0.05)
        stopped.set()

    with interruptible(stop):
        held.drop(lease)
    assert stopped.is_set()


def test_a_partition_has_no_more_rows_running_than_its_limit(rows: Rows, start: Start) -> None:
    """While one of alpha runs, all of beta's are done; and alpha's go on one by one."""
    running, most, lock = Counter[str](), Counter[str](), threading.Lock()
    first = threading.Event()
    alpha = [add(rows, "here") for _ in range(6)]
    beta = [add(rows, "here", queue="beta") for _ in range(6)]

    def here(errand: Errand, _tools: None) -> Done:
        partition = rows.row(errand.id, ERRAND).queue
        with lock:
            running[partition] += 1
            most[partition] = max(most[partition], running[partition])
        if partition == "alpha":
            assert first.wait(30)
        with lock:
            running[partition] -= 1
        return Done()

    start(here, at_once={"alpha": 1})

    eventually(lambda: all(status(rows, row_id) == "closed" for row_id in beta))
    assert Counter(status(rows, row_id) for row_id in alpha) == {"open": 5, "running": 1}
    first.set()
    eventually(lambda: all(status(rows, row_id) == "closed" for row_id in alpha))
    assert most["alpha"] == 1


@pytest.mark.parametrize("served", [None, ["alpha"]])
def test_the_next_row_of_a_full_partition_begins_once_one_ended_and_nobody_spins_till_then(
    rows: Rows, start: Start, monkeypatch: pytest.MonkeyPatch, served: list[str] | None
) -> None:
    turns, taken, first = [0], list[int](), threading.Event()
    turn = Producer._turn

    def counted(producer: Producer) -> None:
        turns[0] += 1
        turn(producer)

    def here(_errand: Errand, _tools: None) -> Done:
        before = turns[0]
        first.wait(0.2)
        taken.append(turns[0] - before)
        return Done({})

    monkeypatch.setattr(Producer, "_turn", counted)
    alpha = [add(rows, "here") for _ in range(3)]
    start(here, served, at_once={"alpha": 1})

    # The interval after which it would look anyway is longer.
    eventually(lambda: all(status(rows, it) == "closed" for it in alpha), within=5)
    assert max(taken) < 10
