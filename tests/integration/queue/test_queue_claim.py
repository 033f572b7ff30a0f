"""Claims: which rows, in which order, and never one row twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from backend.db import Sessions
from backend.queue import control, leases
from backend.queue.leases import Marks
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND, PROBE, PUBLISH


def ids(claimed: list[leases.Lease]) -> list[int]:
    return sorted(lease.id for lease in claimed)


def test_a_claim_takes_ready_rows_only(rows: Rows) -> None:
    ready = rows.add(count=3)
    rows.one(status="shelved", completed_at=ago("1 hour"))
    rows.one(status="finished", completed_at=ago("1 hour"))
    rows.one(PUBLISH)

    assert ids(rows.claim()) == ready
    assert rows.claim() == []


def test_two_queues_of_one_table_do_not_take_each_others_rows(rows: Rows) -> None:
    vetting, publishing = rows.one(PROBE), rows.one(PUBLISH)

    assert ids(rows.claim(PUBLISH)) == [publishing]
    assert ids(rows.claim(PROBE)) == [vetting]
    assert rows.row(publishing).status == "publishing"


def test_a_claimed_row_names_its_holder_token_and_times(rows: Rows) -> None:
    row_id, token = rows.one(), uuid4()

    lease = rows.claim_one(worker="mine", token=token, ttl=timedelta(seconds=7))

    row = rows.row(row_id)
    assert (row.status, row.lease_token, row.leased_by) == ("working", token, "mine")
    assert row.lease_expires_at - row.heartbeat_at == pytest.approx(
        timedelta(seconds=7), abs=timedelta(milliseconds=50)
    )
    assert row.progressed_at is not None
    assert row.started_at is not None
    assert (lease.id, lease.token, lease.status, lease.attempts) == (row_id, token, "working", 1)


def test_the_most_urgent_rows_are_claimed_first(rows: Rows) -> None:
    low, high, middle = rows.one(priority=1), rows.one(priority=10), rows.one(priority=5)

    assert [rows.claim_one().id for _ in range(3)] == [high, middle, low]


def test_of_one_priority_the_oldest_row_is_claimed_first(rows: Rows) -> None:
    newer, older = rows.one(available_at=ago("1 minute")), rows.one(available_at=ago("2 minutes"))

    assert [rows.claim_one().id for _ in range(2)] == [older, newer]


@pytest.mark.parametrize(("waited", "first"), [("49 minutes", "urgent"), ("51 minutes", "patient")])
def test_ten_minutes_of_waiting_are_worth_one_step_of_priority(
    rows: Rows, waited: str, first: str
) -> None:
    named = {
        "patient": rows.one(priority=5, available_at=ago(waited)),
        "urgent": rows.one(priority=10),
    }

    assert rows.claim_one().id == named[first]


def test_a_row_that_backs_off_is_not_claimed_before_its_time(
    rows: Rows, sessions: Sessions
) -> None:
    rows.one(available_at=ago("-1 hour"))

    assert rows.claim() == []
    with sessions.begin() as session:
        assert leases.next_due(session, PROBE) == pytest.approx(3600, abs=60)


def test_a_claim_takes_at_most_its_limit(rows: Rows) -> None:
    rows.add(count=10)
    rows.add(count=10, priority=9)

    assert len(rows.claim(limit=7)) == 7
    assert list(rows.statuses().values()).count("working") == 7


def test_each_claim_counts_one_attempt(rows: Rows) -> None:
    row_id = rows.one()
    for expected in (1, 2, 3):
        lease = rows.claim_one()
        assert lease.attempts == rows.row(row_id).attempts == expected
        rows.settle(leases.after_error(lease, RuntimeError("x")))
        rows.change(row_id, available_at=ago("1 second"))


def test_a_paused_queue_is_left_alone_until_it_is_resumed(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    with sessions.begin() as session:
        control.pause(session, PROBE, by="ann")
        control.pause(session, PROBE, by="bob")  # twice is once

    assert rows.claim() == []
    with sessions.begin() as session:
        control.resume(session, PROBE)
    assert ids(rows.claim()) == [row_id]


def test_a_paused_queue_leaves_another_queue_of_its_table_alone(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(PUBLISH)
    with sessions.begin() as session:
        control.pause(session, PROBE, by="ann")

    assert ids(rows.claim(PUBLISH)) == [row_id]


def test_a_paused_partition_is_skipped_and_the_others_are_not(
    rows: Rows, sessions: Sessions
) -> None:
    alpha, beta = rows.one(ERRAND, queue="alpha"), rows.one(ERRAND, queue="beta")
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="ann", partition="alpha")

    assert ids(rows.claim(ERRAND)) == [beta]
    with sessions.begin() as session:
        control.resume(session, ERRAND, partition="alpha")
        control.pause(session, ERRAND, by="ann")
    assert rows.claim(ERRAND) == []
    with sessions.begin() as session:
        control.resume(session, ERRAND)
    assert ids(rows.claim(ERRAND)) == [alpha]


def test_a_paused_queue_keeps_its_suspects_too(rows: Rows, sessions: Sessions) -> None:
    rows.one(stalls=2)
    with sessions.begin() as session:
        control.pause(session, PROBE, by="ann")
        assert not leases.suspects_wait(session, {PROBE: None})

    assert rows.claim_suspect() is None


def test_two_open_claims_never_share_a_row_and_the_second_gets_a_full_batch(
    rows: Rows, sessions: Sessions
) -> None:
    added = rows.add(count=100)
    with sessions.begin() as one, sessions.begin() as two:
        first = leases.claim(one, PROBE, worker="one", limit=50)
        second = leases.claim(two, PROBE, worker="two", limit=50)

    assert (len(first), len(second)) == (50, 50)
    assert ids(first + second) == added


def test_many_claimers_at_once_take_every_row_exactly_once(rows: Rows) -> None:
    added = rows.add(count=300)
    start = threading.Barrier(6)

    def claimer(name: int) -> list[int]:
        taken: list[int] = []
        start.wait(10)
        while claimed := rows.claim(limit=7, worker=f"w{name}"):
            taken += ids(claimed)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [row_id for part in pool.map(claimer, range(6)) for row_id in part]

    assert sorted(taken) == added


def test_a_claim_never_waits_for_a_locked_row(rows: Rows, sessions: Sessions) -> None:
    locked, free = rows.add(count=2)
    with sessions.begin() as other, sessions.begin() as session:
        other.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": locked})
        session.execute(text("SET LOCAL lock_timeout = '1ms'"))

        claimed = leases.claim(session, PROBE, worker="w", limit=2)

    assert ids(claimed) == [free]


def test_a_row_under_an_uncommitted_insert_of_a_child_is_claimed(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    with sessions.begin() as other, sessions.begin() as session:
        # The lock a foreign key takes on its parent.
        other.execute(text("SELECT 1 FROM probe WHERE id = :id FOR KEY SHARE"), {"id": row_id})

        assert ids(leases.claim(session, PROBE, worker="w", limit=1)) == [row_id]


@pytest.mark.parametrize(
    ("step", "status", "stage"),
    [
        (None, "working", "first"),
        ("first", "finishing", "second"),
        ("a step of an older release", "working", "first"),
    ],
)
def test_a_resumed_row_goes_on_after_its_last_step_and_an_unknown_one_restarts(
    rows: Rows, step: str | None, status: str, stage: str
) -> None:
    row_id = rows.one(step=step)

    lease = rows.claim_one()

    assert rows.row(row_id).status == lease.status == status
    assert lease.next_stage is not None
    assert lease.next_stage.name == stage


def test_marks_hide_a_late_committed_older_row_only_until_the_next_look_from_the_front(
    rows: Rows,
) -> None:
    marks = Marks()
    rows.add(count=3)
    assert len(rows.claim(marks=marks)) == 3

    late = rows.one(available_at=ago("1 hour"))
    newer = rows.one()
    assert ids(rows.claim(marks=marks)) == [newer]
    assert ids(rows.claim(marks=Marks())) == [late]


def test_a_look_from_the_front_moves_only_the_marks_of_lanes_it_took_from(rows: Rows) -> None:
    marks, front = Marks(), Marks()
    rows.add(count=2, priority=9)
    rows.add(count=2, priority=3)
    rows.claim(marks=marks)
    ahead = marks.of((3,))
    late = rows.add(count=2, priority=9, available_at=ago("1 minute"))

    assert ids(rows.claim(marks=front)) == late
    marks.replace(front)

    assert marks.of((9,)) == front.of((9,))
    assert marks.of((3,)) == ahead


def test_rows_of_one_bulk_insert_share_a_time_and_are_all_claimed_with_marks(rows: Rows) -> None:
    marks, added = Marks(), rows.add(count=100)
    taken: list[int] = []
    while claimed := rows.claim(marks=marks, limit=9):
        taken += ids(claimed)

    assert sorted(taken) == added


def test_marks_of_a_claim_that_was_rolled_back_lose_no_row(rows: Rows, sessions: Sessions) -> None:
    marks, added = Marks(), rows.add(count=4)
    with sessions() as session:
        assert len(leases.claim(session, PROBE, worker="w", limit=3, marks=marks)) == 3
        session.rollback()

    found = ids(rows.claim(marks=marks))
    assert sorted(found + ids(rows.claim(marks=Marks()))) == added


def test_a_claim_whose_answer_was_lost_is_adopted_exactly_once(
    rows: Rows, sessions: Sessions
) -> None:
    added, token = rows.add(count=5), uuid4()
    rows.claim(limit=3, token=token, worker="lost")  # committed; nobody heard the answer

    with sessions.begin() as session:
        adopted = leases.adopt(session, PROBE, token)
        assert leases.adopt(session, PROBE, uuid4()) == []

    assert len(adopted) == 3
    assert ids(adopted + rows.claim()) == added
    assert all(rows.row(lease.id).attempts == 1 for lease in adopted)
    assert rows.settle(*(leases.done(lease) for lease in adopted)) == set()


def test_a_suspect_is_left_to_those_who_run_it_alone(rows: Rows, sessions: Sessions) -> None:
    innocent, suspect = rows.one(stalls=1), rows.one(stalls=2, priority=10)
    with sessions.begin() as session:
        assert leases.suspects_wait(session, {PROBE: None})

    assert ids(rows.claim()) == [innocent]
    lease = rows.claim_suspect()
    assert lease is not None
    assert (lease.id, lease.suspect) == (suspect, True)
    assert rows.claim_suspect() is None


def test_a_row_that_stalled_once_is_no_suspect(rows: Rows, sessions: Sessions) -> None:
    rows.one(stalls=1)
    with sessions.begin() as session:
        assert not leases.suspects_wait(session, {PROBE: None})

    assert rows.claim_suspect() is None


def test_a_suspect_is_claimed_by_one_of_two_at_once(rows: Rows, sessions: Sessions) -> None:
    rows.one(stalls=3)
    with sessions.begin() as one, sessions.begin() as two:
        first = leases.claim_suspect(one, PROBE, worker="one")
        second = leases.claim_suspect(two, PROBE, worker="two")

    assert first is not None
    assert second is None
