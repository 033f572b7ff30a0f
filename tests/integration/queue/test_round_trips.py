"""What is sent to the server, counted and not timed: a statement more than is needed shows here."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from backend.db import Sessions, make_engine, make_sessions
from backend.queue import fleet
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Done, Pipeline, Step
from backend.queue.turn import Turns
from tests.chaos.proxy import Proxy
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE, PUBLISH
from workers import producer
from workers.assignment import Assignment, Policy, this_worker
from workers.database import Transactions
from workers.executor import Executor
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics
from workers.producer import Producer
from workers.reaping import Reaper
from workers.turning import SteadyTurns

LEASE = timedelta(minutes=1)
ONE = select(text("1"))
MOST = 2  # statements a second of an idle worker that serves everything
LIMITS = (
    "SET LOCAL idle_in_transaction_session_timeout = 60000",
    "SET LOCAL statement_timeout = 30000",
)


class Wire(Proxy):
    """Keeps the text of each message in which an engine asks the server for something."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.messages: list[str] = []

    def _forward(self, link: Any, message: bytes) -> bool:
        if link.started and message[:1] == b"Q":
            self.messages.append(message[5:-1].decode())
        return super()._forward(link, message)

    def sent(self, work: Callable[[], object]) -> list[list[str]]:
        """Of each message that ``work`` sends, which is one round trip, the statements."""
        before = len(self.messages)
        work()
        return [re.split(r"; (?=SET|SELECT|WITH|INSERT|UPDATE|EXECUTE)", message)
                for message in self.messages[before:]]  # fmt: skip


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    port = make_url(database_url).port
    assert port is not None
    with Wire(port) as wire:
        yield wire


@pytest.fixture
def watched(database_url: str, wire: Wire) -> Iterator[Engine]:
    """An engine behind the wire; connected, for the first connection asks for more."""
    url = make_url(database_url).set(port=wire.port).render_as_string(hide_password=False)
    engine = make_engine(url, pool_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
    yield engine
    engine.dispose()


@pytest.fixture
def transactions(watched: Engine) -> Transactions:
    return Transactions(make_sessions(watched, limit=LEASE), threading.Event())


def test_a_transaction_costs_its_statements_and_a_commit(
    wire: Wire, transactions: Transactions
) -> None:
    def twice(session: Session) -> None:
        session.execute(ONE)
        session.execute(ONE)

    assert wire.sent(lambda: transactions.once(twice)) == [
        ["BEGIN", *LIMITS, "SELECT 1"], ["SELECT 1"], ["COMMIT"],
    ]  # fmt: skip
    assert wire.sent(lambda: transactions.once(lambda _session: None)) == []


def test_a_single_statement_costs_one_round_trip_with_its_limit(
    wire: Wire, transactions: Transactions
) -> None:
    sent = wire.sent(lambda: transactions.single(lambda session: session.execute(ONE)))

    assert sent == [[LIMITS[1], "SELECT 1"]]


def test_an_idle_worker_beats_in_one_statement(wire: Wire, transactions: Transactions) -> None:
    beating = heartbeat(transactions, Held())

    (message,) = wire.sent(lambda: beat_once(beating))

    assert len(message) == 2


def test_a_beat_for_rows_of_one_queue_is_a_transaction_of_two_statements(
    rows: Rows, wire: Wire, transactions: Transactions
) -> None:
    held = Held()
    rows.add(count=3)
    held.add(rows.claim())

    sent = wire.sent(lambda: beat_once(heartbeat(transactions, held)))

    assert [len(message) for message in sent] == [4, 1, 1]
    assert sent[-1] == ["COMMIT"]


def test_a_look_for_stalled_rows_suspects_and_ready_ones_is_one_statement_for_all_queues(
    wire: Wire, transactions: Transactions, sessions: Sessions
) -> None:
    assignments = [Assignment(pipeline(queue)) for queue in (PROBE, PUBLISH, ERRAND, PARCEL)]
    expected = list[str]()
    with sessions.begin() as session:
        fleet.beat(session, this_worker("me", []), ttl=LEASE)
    reaper = Reaper(
        assignments, worker="me", transactions=transactions, stall_timeout=LEASE, ttl=LEASE,
        interval=LEASE, became_ready=lambda _queue: None, attend=lambda _queues: None,
        expect=lambda queue, _wait: expected.append(queue), metrics=Metrics([], version="1"),
    )  # fmt: skip

    (look,) = wire.sent(reaper._reap_all)

    assert len(look) == 2
    assert expected == [one.pipeline.queue.name for one in assignments]


def test_a_batch_is_settled_and_the_next_one_claimed_in_one_round_trip(
    rows: Rows, wire: Wire, watched: Engine, transactions: Transactions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(producer, "LINGER", 60.0)  # whole batches, however slow the machine
    rows.add(PARCEL, count=200)
    producing = producer_of(pipeline(PARCEL), watched, transactions)

    def drain() -> None:
        producing.start()
        eventually(lambda: set(rows.statuses(PARCEL).values()) == {"delivered"})
        producing.drain()
        producing.join()
        producing.close()

    sent = wire.sent(drain)

    turns = [message for message in sent if message[-1].startswith("EXECUTE")]
    # Claim; settle and claim; claim for what has ended meanwhile; settle.
    assert len(turns) <= 5
    assert {len(message) for message in turns} == {2}
    # Besides: the preparation, and looks ahead after claims that found nothing.
    assert len(sent) - len(turns) <= 1 + 2 * 3


@pytest.mark.slow
def test_an_idle_worker_that_serves_everything_asks_two_statements_a_second(
    database_url: str, wire: Wire
) -> None:
    """By the clock of its heart, which beats every three seconds."""
    url = make_url(database_url).set(port=wire.port).render_as_string(hide_password=False)
    environment = {
        "PATH": os.environ["PATH"], "DATABASE_URL": url, "WORKER_TYPE": "all",
        "SOURCE_REPOSITORY_URL": "https://registry.example.test/", "LOG_LEVEL": "WARNING",
    }  # fmt: skip

    def beats() -> int:
        return sum("INSERT INTO workers" in message for message in wire.messages)

    with subprocess.Popen([sys.executable, "-m", "backend.cli", "worker"], env=environment) as one:
        try:
            eventually(lambda: beats() >= 3, within=60)
            began, before = beats(), len(wire.messages)
            eventually(lambda: beats() >= began + 10, within=60)
            sent = wire.messages[before:]
        finally:
            one.terminate()

    statements = [part for message in sent for part in message.split(";") if part.strip()]
    assert len(statements) <= MOST * 3 * 10, sent
    assert [message for message in sent if "lockkeeper_turn" in message] == []


def pipeline(queue: Queue) -> Pipeline:
    steps = tuple(Step(stage.name, lambda _lease, _tools: Done({})) for stage in queue.stages)
    return Pipeline(queue=queue, steps=steps, batch=100)


def heartbeat(transactions: Transactions, held: Held) -> Heartbeat:
    return Heartbeat(
        [PROBE, PUBLISH, ERRAND, PARCEL], this_worker("me", []), transactions=transactions,
        held=held, ttl=LEASE, metrics=Metrics([], version="1"),
    )  # fmt: skip


def beat_once(heartbeat: Heartbeat) -> None:
    heartbeat.start()
    eventually(lambda: heartbeat.silence < LEASE.total_seconds())
    heartbeat.stop()
    heartbeat.join()


def producer_of(pipeline: Pipeline, engine: Engine, transactions: Transactions) -> Producer:
    held, queue = Held(), pipeline.queue
    executor = Executor(
        pipeline, transactions=transactions, held=held, children=Children(1),
        metrics=Metrics([queue.name], version="1"), ttl=LEASE, beat=lambda: None,
    )  # fmt: skip
    turns = SteadyTurns(queue, Turns(engine, queue, limit=LEASE), transactions)
    return Producer(
        pipeline, executor, turns=turns, worker="me", transactions=transactions, held=held,
        policy=Policy(ttl=LEASE, concurrency=4),
    )  # fmt: skip
