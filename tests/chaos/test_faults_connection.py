"""Connections that break when it hurts most, go silent, or lead through a pooler."""

from collections.abc import Iterator

import pytest

from backend.db import make_engine
from backend.queue.wake import Listener, Notifier
from tests.chaos.points import marker
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage, eventually

CUTS = [
    ("turn", False), ("commit", False), ("commit", True), ("settle", False), ("settle", True),
]  # fmt: skip


@pytest.mark.chaos
def test_a_write_whose_outcome_is_unknown_is_made_once_and_nobody_is_blamed(stage: Stage) -> None:
    (worker,) = stage.start()
    for statement, at_commit in CUTS:
        for expect in (worker.proxy.cut_after, worker.proxy.cut_before):
            cut = expect(marker(statement), at_commit=at_commit)
            stage.add(10)
            assert cut.wait(15), f"{expect.__name__} {statement} {at_commit=}"
            stage.rest()

    assert stage.outcomes() == {"done": 2 * 10 * len(CUTS)}


@pytest.fixture
def way(stage: Stage) -> Iterator[Proxy]:
    """A way to the server of its own, for what is no worker process."""
    with Proxy(stage.server.port) as proxy:
        yield proxy


@pytest.fixture
def heard(stage: Stage, way: Proxy) -> Iterator[list[str]]:
    """What a listener with a connection through ``way`` hears."""
    engine = make_engine(stage.server.url_through(way.port), application_name="listener")
    hints: list[str] = []
    listener = Listener(engine, hints.append, canary=0.2)
    listener.start()
    yield hints
    listener.stop()
    engine.dispose()


def test_a_listener_that_was_dropped_silently_is_noticed_and_replaced(
    stage: Stage, way: Proxy, heard: list[str]
) -> None:
    eventually(lambda: listens(stage))
    assert eventually(way.deafen) == 1
    deaf = set(listens(stage))

    eventually(lambda: set(listens(stage)) - deaf, within=10)
    notifier = Notifier(stage.engine)
    notifier.ready("chaos_ledger")
    eventually(lambda: "chaos_ledger" in heard)
    notifier.close()


def listens(stage: Stage) -> list[int]:
    return stage.column(
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'listener' AND query LIKE 'LISTEN%'"
    )


def test_a_worker_whose_listener_is_deaf_still_finds_its_rows(stage: Stage) -> None:
    (worker,) = stage.start()
    eventually(worker.proxy.deafen)

    stage.add(30)
    stage.rest()
