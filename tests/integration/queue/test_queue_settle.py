"""Settling: each end of an attempt, its one line of history, and batches that do not deadlock."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from backend.db import Sessions
from backend.queue import control, leases
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import ERRAND, PROBE

HOUR = timedelta(hours=1)


def test_a_done_row_is_finished_and_holds_no_lease(rows: Rows) -> None:
    row_id = rows.one()
    lease = rows.claim_one(worker="mine")

    assert rows.settle(leases.done(lease)) == set()

    row, (line,) = rows.row(row_id), rows.history()
    assert (row.status, row.failure, row.error) == ("finished", None, None)
    assert (row.lease_token, row.leased_by, row.lease_expires_at) == (None, None, None)
    assert row.completed_at is not None
    assert (line.queue, line.row_id, line.token, line.worker) == (
        "probe", row_id, lease.token, "mine",
    )  # fmt: skip
    assert (line.attempt, line.outcome, line.failure, line.error) == (1, "done", None, None)
    assert line.started_at == row.started_at
    assert line.started_at is not None
    assert line.started_at <= line.ended_at


def test_a_retry_waits_for_its_delay_and_keeps_its_step(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    with sessions.begin() as session:
        lease = leases.commit(session, lease)

    rows.settle(leases.after_error(lease, Transient("busy", retry_after=HOUR)))

    row, (line,) = rows.row(row_id), rows.history()
    assert (row.status, row.attempts, row.step, row.error) == ("waiting", 1, "first", "busy")
    assert row.available_at - row.updated_at == pytest.approx(HOUR, abs=timedelta(seconds=1))
    assert (line.outcome, line.error, line.step) == ("retry", "busy", "first")
    assert rows.claim() == []


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError("gone"), "exhausted"),
        (Transient("429"), "exhausted"),
        (TimedOut("slow"), "timeout"),
    ],
)
def test_after_its_last_attempt_a_row_fails_with_the_word_for_it(
    rows: Rows, error: Exception, failure: str
) -> None:
    row_id = rows.one(max_attempts=2)
    for _ in range(2):
        rows.settle(leases.after_error(rows.claim_one(), error))
        if rows.row(row_id).status == "waiting":
            rows.change(row_id, available_at=ago("1 second"))

    row = rows.row(row_id)
    assert (row.status, row.failure, row.failed_from) == ("broken", failure, "waiting")
    assert rows.outcomes() == ["retry", "failed"]


def test_a_permanent_error_fails_at_once(rows: Rows) -> None:
    row_id = rows.one()
    rows.settle(leases.after_error(rows.claim_one(), Permanent("not a zip")))

    row = rows.row(row_id)
    assert (row.status, row.failure, row.error) == ("broken", "permanent", "not a zip")


def test_a_snooze_burns_no_attempt(rows: Rows) -> None:
    row_id = rows.one(attempts=2)
    rows.settle(leases.snoozed(rows.claim_one(), HOUR, "the mirror is closed"))

    row = rows.row(row_id)
    assert (row.status, row.attempts) == ("waiting", 2)
    assert row.available_at > row.updated_at
    assert rows.outcomes() == ["snoozed"]


def test_a_rewind_starts_again_from_the_first_stage(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one(step="first")
    rows.settle(leases.rewound(rows.claim_one(), "the file is on another host"))

    row = rows.row(row_id)
    assert (row.status, row.step, row.rewinds) == ("waiting", None, 1)
    assert rows.outcomes() == ["retry"]


def test_a_row_that_rewinds_again_and_again_is_exhausted_though_it_commits_on_the_way(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(max_attempts=3)
    for _ in range(3):
        rows.change(row_id, available_at=ago("1 second"))
        with sessions.begin() as session:
            lease = leases.commit(session, rows.claim_one())
        rows.settle(leases.rewound(lease, "the file is on another host"))

    row = rows.row(row_id)
    assert (row.status, row.failure, row.rewinds) == ("broken", "exhausted", 2)
    assert row.error == "the file is on another host"
    assert rows.outcomes() == ["retry", "retry", "failed"]


def test_rewinds_are_forgotten_by_a_finished_row_and_by_a_requeue_alone(
    rows: Rows, sessions: Sessions
) -> None:
    retried, finished, failed = rows.add(count=3, rewinds=2)
    one, two, three = sorted(rows.claim(), key=lambda lease: lease.id)
    rows.settle(
        leases.after_error(one, Transient("busy")),
        leases.done(two),
        leases.failed(three, "permanent", "x"),
    )
    assert [rows.row(i).rewinds for i in (retried, finished, failed)] == [2, 0, 2]

    with sessions.begin() as session:
        control.requeue(session, PROBE, [failed])

    assert rows.row(failed).rewinds == 0


def test_a_release_hands_the_attempt_back_and_changes_nothing_else(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(attempts=1, stalls=1, step="first")
    before = rows.row(row_id)
    lease = rows.claim_one()
    with sessions.begin() as session:
        assert leases.release(session, PROBE, [lease]) == set()

    row = rows.row(row_id)
    names = ("status", "attempts", "stalls", "step", "available_at", "lease_token")
    assert [getattr(row, n) for n in names] == [getattr(before, n) for n in names]
    assert rows.outcomes() == ["released"]
    assert rows.claim_one().id == row_id


def test_a_settled_attempt_clears_the_stalls_and_a_death_adds_one(rows: Rows) -> None:
    row_id = rows.one(stalls=1)
    rows.settle(leases.after_error(rows.claim_one(), Transient("busy")))
    assert rows.row(row_id).stalls == 0

    rows.change(row_id, available_at=ago("1 second"))
    rows.settle(leases.after_error(rows.claim_one(), Died("SIGSEGV")))
    row = rows.row(row_id)
    assert (row.status, row.stalls, row.attempts) == ("waiting", 1, 1)


def test_the_third_death_of_a_child_in_a_row_the_last_one_alone_is_poison(rows: Rows) -> None:
    row_id = rows.one()
    for _ in range(2):
        rows.settle(leases.after_error(rows.claim_one(), Died("SIGSEGV")))
        rows.change(row_id, available_at=ago("1 second"))
    assert rows.claim() == []
    suspect = rows.claim_suspect()
    assert suspect is not None

    rows.settle(leases.after_error(suspect, Died("SIGSEGV")))

    row = rows.row(row_id)
    assert (row.status, row.failure) == ("broken", "poison")
    assert rows.outcomes() == ["died", "died", "failed"]


def test_a_suspect_that_succeeds_alone_is_innocent_again(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one(stalls=2)
    suspect = rows.claim_suspect()
    assert suspect is not None
    with sessions.begin() as session:
        committed = leases.commit(session, suspect)
    assert rows.row(row_id).stalls == 0
    assert not committed.suspect


def test_a_batch_with_one_lost_lease_settles_the_others(rows: Rows) -> None:
    rows.add(count=3)
    first, lost, third = rows.claim()
    rows.expire(lost.id)
    rows.reap()

    assert rows.settle(*(leases.done(lease) for lease in (first, lost, third))) == {lost.id}

    assert rows.statuses() == {first.id: "finished", lost.id: "waiting", third.id: "finished"}
    assert rows.outcomes(lost.id) == ["stalled"]
    assert rows.outcomes(first.id) == rows.outcomes(third.id) == ["done"]


def test_a_settle_repeated_after_a_lost_answer_writes_no_second_line(rows: Rows) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    rows.settle(leases.done(lease))

    assert rows.settle(leases.done(lease)) == {row_id}
    assert rows.outcomes() == ["done"]


def test_one_batch_may_end_attempts_in_every_way(rows: Rows) -> None:
    rows.add(count=6)
    one, two, three, four, five, six = sorted(rows.claim(), key=lambda lease: lease.id)
    ends = [
        leases.done(one),
        leases.failed(two, "policy", "no"),
        leases.after_error(three, OSError("x")),
        leases.snoozed(four, HOUR, "later"),
        leases.released(five),
        leases.after_error(six, Died("x")),
    ]
    assert rows.settle(*ends) == set()

    assert list(rows.statuses().values()) == [
        "finished", "broken", "waiting", "waiting", "waiting", "waiting",
    ]  # fmt: skip
    assert sorted(rows.outcomes()) == ["died", "done", "failed", "released", "retry", "snoozed"]


def test_every_way_an_attempt_ends_writes_exactly_one_line(rows: Rows, sessions: Sessions) -> None:
    rows.add(count=5)
    settled, released, reaped, cancelled, waiting = sorted(rows.claim(), key=lambda x: x.id)
    with sessions.begin() as session:
        leases.release(session, PROBE, [released, waiting])
    rows.claim_one()  # one of the two released: the lines of the other stay alone
    rows.settle(leases.done(settled))
    rows.expire(reaped.id)
    rows.reap()
    with sessions.begin() as session:
        control.cancel(session, PROBE, [cancelled.id], why="enough")

    assert [rows.outcomes(x.id) for x in (settled, released, reaped, cancelled, waiting)] == [
        ["done"], ["released"], ["stalled"], ["cancelled"], ["released"],
    ]  # fmt: skip


@pytest.mark.parametrize("text_of_a_stranger", ["with NUL \x00 inside", "half a pair \ud800"])
def test_what_a_stranger_makes_a_step_say_can_always_be_stored(
    rows: Rows, text_of_a_stranger: str
) -> None:
    rows.add(count=3)
    first, second, third = rows.claim()

    rows.settle(
        leases.failed(first, "policy", text_of_a_stranger),
        leases.after_error(second, ValueError(text_of_a_stranger)),
        leases.after_error(third, Permanent(text_of_a_stranger)),
    )

    assert sorted(rows.outcomes()) == ["failed", "failed", "retry"]


def test_an_error_is_stored_as_one_short_line(rows: Rows) -> None:
    row_id = rows.one()
    rows.settle(leases.after_error(rows.claim_one(), ValueError("one\ntwo " + "x" * 5000)))

    error = rows.row(row_id).error
    assert error.startswith("ValueError: one two x")
    assert len(error) == 1000


def test_batches_in_opposite_order_do_not_deadlock(rows: Rows, sessions: Sessions) -> None:
    """Settles, releases, cancels and requeues that share rows, in random order, many rounds."""
    added = rows.add(count=3000)[::100]
    with sessions.begin() as session:
        session.execute(text("UPDATE probe SET priority = 10 WHERE id = ANY(:ids)"), {"ids": added})
        session.execute(text("ANALYZE probe"))  # a plan that follows the order of the batch
    claimed = rows.claim(limit=30)
    start = threading.Barrier(4)

    def settling(seed: int) -> None:
        shuffled = random.Random(seed)
        start.wait(10)
        for _ in range(25):
            mine = shuffled.sample(claimed, len(claimed))
            with sessions() as session:
                leases.settle(session, PROBE, [leases.done(lease) for lease in mine])
                session.rollback()  # so that every round locks all of them

    def cancelling(seed: int) -> None:
        shuffled = random.Random(seed)
        start.wait(10)
        for _ in range(25):
            with sessions() as session:
                control.cancel(session, PROBE, shuffled.sample(added, len(added)), why="x")
                session.rollback()

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(settling if seed % 2 else cancelling, seed) for seed in range(4)]
        for work in works:
            work.result(60)


def test_a_batch_locks_its_rows_in_the_order_of_their_ids_whatever_order_it_came_in(
    rows: Rows, sessions: Sessions
) -> None:
    """It waits for the lowest id before it holds any other: two batches cannot hold crosswise."""
    rows.add(count=3000)
    with sessions.begin() as session:
        session.execute(text("ANALYZE probe"))  # a plan that follows the order of the batch
    low, *others = sorted(rows.claim(limit=5), key=lambda lease: lease.id)
    ends = [leases.done(lease) for lease in (*reversed(others), low)]
    blocked = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    free = text("SELECT id FROM probe WHERE id = ANY(:ids) FOR UPDATE NOWAIT")
    ids = [lease.id for lease in others]
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as other:
            other.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": low.id})
            settling = pool.submit(rows.settle, *ends)

            def waits() -> bool:
                with sessions() as session:
                    return session.scalar(blocked) is not None

            eventually(waits)
            with sessions() as session:
                assert len(session.scalars(free, {"ids": ids}).all()) == len(ids)
        assert settling.result(10) == set()


def test_a_partitioned_row_goes_through_its_whole_life(rows: Rows) -> None:
    row_id = rows.one(ERRAND, queue="beta", fairness_key="ann")
    lease = rows.claim_one(ERRAND)
    assert (lease.partition, lease.fairness_key) == ("beta", "ann")

    rows.settle(leases.done(lease))

    assert rows.row(row_id, ERRAND).status == "closed"
    assert rows.history()[0].queue == "errand"
