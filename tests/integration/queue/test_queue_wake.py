"""Hints: coalesced on the way out, and a listener that comes back."""

import select as selecting
import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import Engine, text

from backend.db import make_engine
from backend.queue.wake import CHANNEL, Listener, Notifier
from tests.integration.queue.ledger import eventually

BACKENDS = "SELECT pid FROM pg_stat_activity"
LISTENING = text(
    f"{BACKENDS} WHERE application_name = 'listener under test' AND query LIKE 'LISTEN%'"
)


@pytest.fixture
def listening_engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=1, application_name="listener under test")
    yield engine
    engine.dispose()


class Heard:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.queues: list[str] = []

    def __call__(self, queue: str) -> None:
        with self._changed:
            self.queues.append(queue)
            self._changed.notify_all()

    def wait_for(self, queue: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: queue in self.queues, timeout=10)


def listeners(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(LISTENING))


def notify(engine: Engine, queue: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_notify(:channel, :queue)"), {"channel": CHANNEL, "queue": queue}
        )


def test_a_burst_of_hints_goes_out_as_a_handful(engine: Engine, database_url: str) -> None:
    notifier = Notifier(engine)
    dsn = database_url.replace("postgresql+psycopg2", "postgresql")
    with closing(psycopg2.connect(dsn)) as listening:
        listening.autocommit = True
        listening.cursor().execute(f"LISTEN {CHANNEL}")
        for _ in range(1000):
            notifier.ready("probe")
        notifier.ready("errand")
        notifier.close()
        selecting.select([listening], [], [], 10)
        listening.poll()
        heard = [notice.payload for notice in listening.notifies]

    assert set(heard) == {"probe", "errand"}
    assert len(heard) <= 8


def test_a_notifier_whose_connection_broke_loses_no_hint(
    engine: Engine, listening_engine: Engine
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    breaking = make_engine(url, pool_size=1, application_name="breaks")

    def kept() -> list[int]:
        with engine.connect() as connection:
            return list(connection.scalars(text(f"{BACKENDS} WHERE application_name = 'breaks'")))

    heard = Heard()
    listener = Listener(listening_engine, heard)
    listener.start()
    eventually(lambda: listeners(engine))
    notifier = Notifier(breaking)
    notifier.ready("first")
    assert heard.wait_for("first")
    (pid,) = kept()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    notifier.ready("second")
    assert heard.wait_for("second")

    (another,) = kept()
    assert another != pid
    notifier.close()
    eventually(lambda: not kept())
    listener.stop()
    breaking.dispose()


def test_a_notifier_that_cannot_reach_the_database_neither_raises_nor_blocks() -> None:
    unreachable = make_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    notifier = Notifier(unreachable)
    notifier.ready("probe")
    notifier.close()
    unreachable.dispose()


def test_a_listener_wakes_on_a_hint_and_survives_the_loss_of_its_connection(
    engine: Engine, listening_engine: Engine
) -> None:
    heard = Heard()
    listener = Listener(listening_engine, heard)
    listener.start()
    (first,) = eventually(lambda: listeners(engine))
    notify(engine, "probe")
    assert heard.wait_for("probe")

    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
    (second,) = eventually(lambda: [pid for pid in listeners(engine) if pid != first])
    assert second != first
    notify(engine, "errand")
    assert heard.wait_for("errand")
    listener.stop()


def test_a_listener_that_hears_itself_stays_and_one_that_is_deaf_listens_again(
    engine: Engine, database_url: str, listening_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(listening_engine, Heard(), canary=0.5)
    listener.start()
    (first,) = eventually(lambda: listeners(engine))
    dsn = database_url.replace("postgresql+psycopg2", "postgresql")
    with closing(psycopg2.connect(dsn)) as overhearing:
        overhearing.autocommit = True
        overhearing.cursor().execute(f"LISTEN {CHANNEL}")
        while len(overhearing.notifies) < 2:  # the second question: the first one was answered
            assert selecting.select([overhearing], [], [], 10)[0]
            overhearing.poll()
    assert listeners(engine) == [first]
    # Its own hints go astray from now on.
    monkeypatch.setattr("backend.queue.wake.CHANNEL", "another_channel")

    eventually(lambda: [pid for pid in listeners(engine) if pid != first])
    listener.stop()


def test_a_listener_that_cannot_connect_tries_again_until_it_can(
    engine: Engine, listening_engine: Engine, postgres: str
) -> None:
    heard, lost, name = Heard(), threading.Semaphore(0), listening_engine.url.database
    listener = Listener(listening_engine, heard, lost=lost.release)
    listener.start()
    (pid,) = eventually(lambda: listeners(engine))
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
            assert all(lost.acquire(timeout=10) for _ in range(2))
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    eventually(lambda: listeners(engine))
    notify(engine, "probe")
    assert heard.wait_for("probe")
    listener.stop()
