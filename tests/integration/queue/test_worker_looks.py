"""Where a producer looks for rows and when: no row is left lying beside an idle worker."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backend.db import Sessions, make_sessions
from backend.queue.lanes import fixed_lanes
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Done, Pipeline, Snooze, Step
from backend.queue.turn import Turns
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import ERRAND, PARCEL
from workers.assignment import Policy
from workers.database import Transactions
from workers.executor import Executor
from workers.front import Front
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics
from workers.producer import Producer
from workers.turning import SteadyTurns

TTL = timedelta(seconds=12)
Make = Callable[..., Producer]


def finish(_lease: Any, _tools: None) -> Done:
    return Done(None)


@pytest.fixture
def make(engine: Engine) -> Iterator[Make]:
    """Producers whose turns the test takes by itself."""
    made = []

    def make(queue: Queue = PARCEL, run: Any = finish, *, room: int = 10) -> Producer:
        stage = queue.stages[0].name
        pipeline = Pipeline(queue=queue, steps=(Step(stage, run),), batch=room)
        transactions = Transactions(make_sessions(engine, limit=TTL), threading.Event())
        held = Held()
        executor = Executor(
            pipeline, transactions=transactions, held=held, children=Children(1),
            metrics=Metrics([queue.name], version="1"),
        )  # fmt: skip
        turns = SteadyTurns(queue, Turns(engine, queue, limit=TTL / 2), transactions)
        producer = Producer(
            pipeline, executor, turns=turns, worker="me", transactions=transactions, held=held,
            policy=Policy(ttl=TTL, concurrency=1),
        )  # fmt: skip
        made.append(producer)
        return producer

    yield make
    for producer in made:
        producer.close()
        producer._turns.close()


def taken(producer: Producer) -> None:
    """Take turns until nothing is held."""

    def idle() -> bool:
        producer._turn()
        return not (producer._crew.in_flight or producer._crew.finished)

    eventually(idle)


def test_after_an_empty_claim_a_row_behind_the_mark_waits_for_the_next_look_from_the_front(
    rows: Rows, make: Make
) -> None:
    """As one does that was released, reaped, or committed late."""
    producer = make()
    producer._turn()  # the look from the front
    rows.one(PARCEL)
    producer.wake()
    taken(producer)
    producer._front.looked(fixed_lanes(PARCEL), began=time.monotonic(), took=0)

    rows.one(PARCEL, available_at=ago("1 minute"))
    producer.wake()
    producer._turn()
    with producer._crew.changed:
        assert producer._due is not None
        assert producer._due <= producer._front.due(fixed_lanes(PARCEL))


def test_a_turn_that_broke_puts_the_next_look_from_the_front_off_no_longer(
    rows: Rows, make: Make, engine: Engine
) -> None:
    """As in an outage, however long it takes until the turn is taken."""
    producer = make()
    turn = threading.Thread(target=producer._turn)
    waits = text(
        "SELECT pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
        " WHERE relname = 'parcel' AND NOT granted"
    )
    with engine.connect() as somebody, engine.connect() as watcher:
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        somebody.execute(text("LOCK TABLE parcel IN ACCESS EXCLUSIVE MODE"))
        turn.start()
        first = eventually(lambda: watcher.scalar(waits))
        watcher.execute(text(f"SELECT pg_terminate_backend({first})"))
        eventually(lambda: watcher.scalar(waits) not in (None, first))
        threading.Event().wait(0.3)  # of the outage
    turn.join()

    front = producer._front.due(fixed_lanes(PARCEL))
    assert front - producer._turned < 2
    # It was repeated from the marks: behind them nobody has looked yet.
    assert producer._due is not None
    assert producer._due <= front


def test_an_empty_claim_from_some_of_the_lanes_says_nothing_of_the_others(
    rows: Rows, make: Make, engine: Engine
) -> None:
    locked = rows.one(ERRAND, fairness_key="a")
    free = rows.one(ERRAND, fairness_key="b")
    producer = make(ERRAND, room=1)
    with engine.begin() as somebody:
        somebody.execute(text(f"SELECT FROM errand WHERE id = {locked} FOR UPDATE"))
        producer._turn()
        with producer._crew.changed:
            assert producer._crew.in_flight or producer._crew.finished or producer._pause() < 1
        taken(producer)
        taken(producer)
        assert rows.row(free, ERRAND).status == "closed"


def snoozing(rows: Rows, make: Make) -> Producer:
    """One that has just settled a row, which is due again in three seconds."""
    producer = make(run=lambda _lease, _tools: Snooze(timedelta(seconds=3), "not yet"))
    rows.one(PARCEL)
    producer._turn()
    producer._crew.start()
    eventually(lambda: producer._crew.finished)
    producer._turn()
    return producer


def test_a_row_that_a_turn_settles_and_that_is_soon_due_again_is_not_forgotten(
    rows: Rows, make: Make
) -> None:
    """The same statement claims, and sees it as it was before."""
    producer = snoozing(rows, make)
    with producer._crew.changed:
        assert producer._due is not None
        assert producer._due - time.monotonic() < 3


def test_an_idle_worker_finds_the_first_row_of_a_fair_queue_at_once(rows: Rows, make: Make) -> None:
    producer = make(ERRAND)
    producer._turn()
    row_id = rows.one(ERRAND)
    producer._turn()

    assert rows.row(row_id, ERRAND).status != "open"


def test_an_answered_look_stands_for_an_empty_claim(rows: Rows, make: Make) -> None:
    """It puts the next claim off, but none that is due sooner."""
    producer = snoozing(rows, make)

    for wait in (None, 60.0):  # asked before that row was settled
        producer.expect(wait)
        with producer._crew.changed:
            assert 0 < producer._pause() <= 3

    producer.expect(-1.0)
    with producer._crew.changed:
        assert producer._pause() < 0.1


def test_a_producer_that_is_told_of_empty_queues_does_not_look_by_itself(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make()
    producer._interval = 0.5
    turns = list[float]()
    monkeypatch.setattr(producer, "_turn", lambda: turns.append(time.monotonic()))
    producer._hint = False
    producer.start()
    try:
        eventually(lambda: turns)
        told = time.monotonic()
        while time.monotonic() < told + 1.5:
            producer.expect(None)
            threading.Event().wait(0.05)
        assert len(turns) == 1
        assert not producer.held_up
        eventually(lambda: len(turns) > 1)  # and once nobody tells it anything, it does
    finally:
        producer.drain()
        producer.join(10)


def test_each_lane_has_its_share_of_a_claim_however_the_rows_divide(
    rows: Rows, sessions: Sessions
) -> None:
    for key in range(8):
        rows.add(ERRAND, 40, fairness_key=f"busy {key}", available_at=ago(f"{9 - key} minutes"))

    claimed = rows.claim(ERRAND, limit=10)

    assert len({lease.fairness_key for lease in claimed}) == 8


def test_a_row_behind_the_mark_of_a_lane_is_found_however_many_lanes_there_are(
    rows: Rows, make: Make
) -> None:
    """A look from the front that sees some lanes only must come to the others, too."""
    for key in "ab":
        rows.add(ERRAND, 30, fairness_key=key)
    producer = make(ERRAND, room=1)
    late: list[int] = []
    for n in range(12):
        if n == 4:
            producer._front = Front()  # a moment later
        producer._front._rested = 0.0
        producer._turn()
        producer._crew.start()
        eventually(lambda: not producer._crew.in_flight)
        if n == 3:
            late = [rows.one(ERRAND, fairness_key=k, available_at=ago("1 hour")) for k in "ab"]
    assert "open" not in {rows.row(row_id, ERRAND).status for row_id in late}


def test_a_claimed_row_begins_while_the_lanes_of_the_next_claim_are_asked_for(
    rows: Rows, make: Make, engine: Engine
) -> None:
    began = threading.Semaphore(0)

    def run(_lease: Any, _tools: None) -> Done:
        began.release()
        return Done(None)

    producer = make(ERRAND, run)
    rows.one(ERRAND, fairness_key="a")
    taken(producer)  # leaves an idle thread
    assert began.acquire(timeout=10)
    rows.one(ERRAND, fairness_key="a")
    producer._turn()
    turn = threading.Thread(target=producer._turn)
    with engine.begin() as somebody:
        somebody.execute(text("LOCK TABLE errand IN ACCESS EXCLUSIVE MODE"))
        turn.start()
        assert began.acquire(timeout=3)
    turn.join()
