"""How often a worker looks at its queues: seldom while nothing is held, and never too late."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from backend.db import make_sessions
from backend.queue.pipeline import Done, Pipeline, Step
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PARCEL
from workers import reaping
from workers.assignment import Assignment
from workers.database import Transactions
from workers.metrics import Metrics
from workers.reaping import Reaper

Make = Callable[..., Reaper]
LEASE = timedelta(seconds=12)


class Told:
    """What a reaper says to others: of each look once, and of what waits."""

    def __init__(self) -> None:
        self.looks = 0
        self.waits = list[float | None]()

    def attend(self, _queues: Any) -> None:
        self.looks += 1

    def expect(self, _queue: str, wait: float | None) -> None:
        self.waits.append(wait)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def make(engine: Engine, told: Told) -> Iterator[Make]:
    made = []

    def make(*, ttl: timedelta = LEASE, interval: timedelta = LEASE) -> Reaper:
        steps = tuple(Step(stage.name, lambda _row, _tools: Done({})) for stage in PARCEL.stages)
        reaper = Reaper(
            [Assignment(Pipeline(queue=PARCEL, steps=steps))], worker="me",
            transactions=Transactions(make_sessions(engine, limit=ttl), threading.Event()),
            stall_timeout=ttl, ttl=ttl, interval=interval, became_ready=lambda _queue: None,
            attend=told.attend, expect=told.expect, metrics=Metrics([PARCEL.name], version="1"),
        )  # fmt: skip
        made.append(reaper)
        return reaper

    yield make
    for reaper in made:
        reaper.stop()
        if reaper.ident is not None:
            reaper.join(10)
            assert not reaper.is_alive()


@pytest.mark.parametrize(
    ("lease", "interval", "pause"), [(12, 10, 8), (12, 60, 9.6), (60, 10, 8), (2, 10, 2)]
)
def test_a_look_that_found_nothing_is_repeated_before_a_lease_or_an_interval_is_over(
    make: Make, lease: float, interval: float, pause: float
) -> None:
    reaper = make(ttl=timedelta(seconds=lease), interval=timedelta(seconds=interval))

    assert reaper._quiet == pytest.approx(pause)


def test_while_nothing_is_held_it_looks_again_on_a_hint_and_while_something_is_without(
    make: Make, told: Told, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "EVERY", 0.01)
    reaper = make(ttl=timedelta(hours=1), interval=timedelta(hours=1))
    reaper.start()
    eventually(lambda: told.looks)

    rows.one(PARCEL)
    reaper.hint()
    eventually(lambda: told.looks >= 2)
    reaper.hint()
    eventually(lambda: told.looks >= 3)
    assert told.looks == 3
    assert told.waits[0] is None
    assert [wait <= 0 for wait in told.waits[1:] if wait is not None] == [True, True]

    assert len(rows.claim(PARCEL)) == 1
    reaper.hint()
    eventually(lambda: told.looks >= 8)
    assert len(told.waits) == 4


def test_a_reaper_that_rests_stops_at_once(make: Make, told: Told) -> None:
    reaper = make(ttl=timedelta(hours=1), interval=timedelta(hours=1))
    reaper._hinted.clear()
    reaper.start()
    reaper.stop()
    reaper.join(10)

    assert not reaper.is_alive()
    assert told.looks == 0
