"""A look says when the next row of each queue is ready, as a claim of it would find it."""

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from backend.db import Sessions
from backend.queue import control, reaper
from backend.queue.lifecycle import Queue
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE, PUBLISH

ALL = (PROBE, PUBLISH, ERRAND, PARCEL)


class Look:
    """What a worker that serves every queue is told."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def waits(self, partitions: Sequence[str] | None = None) -> dict[str, float | None]:
        served: dict[Queue, Sequence[str] | None] = dict.fromkeys(ALL)
        served[ERRAND] = partitions
        with self._sessions.begin() as session:
            return reaper.look(session, {}, served, waiting=True).waits

    def ready(self) -> set[str]:
        return {name for name, wait in self.waits().items() if wait is not None and wait <= 0}


@pytest.fixture
def look(sessions: Sessions) -> Look:
    return Look(sessions)


def test_where_nothing_waits_every_queue_says_so(look: Look) -> None:
    assert look.waits() == {queue.name: None for queue in ALL}


@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.name)
@pytest.mark.parametrize("priority", [1, 10])
def test_a_row_that_may_be_claimed_is_seen_whatever_its_lane(
    rows: Rows, look: Look, queue: Queue, priority: int
) -> None:
    lane = {"queue": "beta", "fairness_key": "z"} if queue is ERRAND else {}
    rows.one(queue, priority=priority, **lane)

    assert look.ready() == {queue.name}

    assert len(rows.claim(queue)) == 1
    assert look.waits()[queue.name] is None


def test_a_row_behind_more_lanes_than_one_claim_asks_for_is_seen(rows: Rows, look: Look) -> None:
    for number in range(40):
        rows.one(ERRAND, fairness_key=f"a {number}", available_at=ago("-1 hour"))
    rows.one(ERRAND, fairness_key="z")

    assert look.ready() == {ERRAND.name}


@pytest.mark.parametrize("queue", [PARCEL, ERRAND], ids=lambda queue: queue.name)
def test_a_row_that_backs_off_is_told_with_the_time_it_takes(
    rows: Rows, look: Look, queue: Queue
) -> None:
    rows.one(queue, available_at=ago("-2 hours"), priority=9)
    rows.one(queue, available_at=ago("-1 hour"), priority=2)

    wait = look.waits()[queue.name]

    assert wait is not None
    assert 3590 < wait <= 3600


def test_what_no_claim_takes_is_not_waited_for(rows: Rows, look: Look, sessions: Sessions) -> None:
    rows.one(PROBE, stalls=2)  # a suspect
    rows.one(PUBLISH, available_at=text("'infinity'"))
    rows.one(PARCEL)
    rows.one(ERRAND, queue="alpha")
    with sessions.begin() as session:
        control.pause(session, PARCEL, by="somebody")
        control.pause(session, ERRAND, by="somebody", partition="alpha")

    assert look.waits() == {queue.name: None for queue in ALL}


def test_the_pause_of_one_partition_hides_no_other(
    rows: Rows, look: Look, sessions: Sessions
) -> None:
    for partition in ("alpha", "beta"):
        rows.one(ERRAND, queue=partition)
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="somebody", partition="alpha")

    assert look.ready() == {ERRAND.name}


def test_rows_of_partitions_that_are_not_served_are_not_waited_for(rows: Rows, look: Look) -> None:
    rows.one(ERRAND, queue="beta")

    assert look.waits(["alpha"])[ERRAND.name] is None
    assert look.waits(["beta"])[ERRAND.name] is not None


def test_while_something_is_held_it_is_not_asked_for(rows: Rows, sessions: Sessions) -> None:
    rows.one(PARCEL)
    with sessions.begin() as session:
        looked = reaper.look(session, {}, dict.fromkeys(ALL))

    assert looked.waits == {}
