"""The fence: a worker that wakes up late can never write, whatever it tries."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.db import Sessions, make_sessions
from backend.queue import control, leases
from backend.queue.leases import Lease
from backend.queue.retry import Died, LeaseLost, Permanent
from tests.integration.queue.ledger import Rows, changed
from tests.integration.queue.probe_workload import PROBE, effects, save
from workers.database import worth_repeating

Write = Callable[[Session, Lease], object]
Loss = Callable[[Rows, Lease], None]


def reports_lost(session: Session, lease: Lease, lost: set[int]) -> None:
    """The batch functions answer the lost ids; here that is what a caller would raise."""
    if lost == {lease.id}:
        raise LeaseLost
    assert lost == set()


def settles(end: Callable[[Lease], leases.Settlement]) -> Write:
    return lambda s, lease: reports_lost(s, lease, leases.settle(s, PROBE, [end(lease)]))


WRITES: dict[str, Write] = {
    "heartbeat": lambda s, lease: reports_lost(s, lease, leases.heartbeat(s, PROBE, [lease])),
    "progress": lambda s, lease: leases.progress(s, lease, "finishing"),
    "commit": leases.commit,
    "settle done": settles(leases.done),
    "settle failed": settles(lambda lease: leases.failed(lease, "policy", "no")),
    "settle permanent": settles(lambda lease: leases.after_error(lease, Permanent("no"))),
    "settle retry": settles(lambda lease: leases.after_error(lease, OSError("no"))),
    "settle died": settles(lambda lease: leases.after_error(lease, Died("no"))),
    "settle snoozed": settles(lambda lease: leases.snoozed(lease, timedelta(hours=1), "no")),
    "settle rewound": settles(lambda lease: leases.rewound(lease, "no")),
    "settle one": lambda s, lease: leases.settle_one(s, leases.done(lease)),
    "release": lambda s, lease: reports_lost(s, lease, leases.release(s, PROBE, [lease])),
}


def reaped(rows: Rows, lease: Lease) -> None:
    rows.expire(lease.id)
    assert [row.id for row in rows.reap()] == [lease.id]


def reaped_and_claimed_again(rows: Rows, lease: Lease) -> None:
    reaped(rows, lease)
    assert rows.claim_one(worker="fresh").token != lease.token


def cancelled(rows: Rows, lease: Lease) -> None:
    with rows.sessions.begin() as session:
        assert control.cancel(session, PROBE, [lease.id], why="enough") == [lease.id]


def settled(rows: Rows, lease: Lease) -> None:
    assert rows.settle(leases.done(lease)) == set()


@pytest.mark.parametrize("loss", [reaped, reaped_and_claimed_again, cancelled, settled])
@pytest.mark.parametrize("write", WRITES)
def test_a_worker_that_lost_its_lease_can_write_nothing(
    rows: Rows, sessions: Sessions, write: str, loss: Loss
) -> None:
    row_id = rows.one()
    stale = rows.claim_one(worker="slow")
    loss(rows, stale)
    before, history = rows.row(row_id), rows.outcomes()

    with sessions.begin() as session, pytest.raises(LeaseLost):
        WRITES[write](session, stale)

    assert changed(before, rows.row(row_id)) == {}
    assert rows.outcomes() == history


@pytest.mark.parametrize("write", WRITES)
def test_the_holder_of_a_lease_can_write(rows: Rows, sessions: Sessions, write: str) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    before = rows.row(row_id)

    with sessions.begin() as session:
        WRITES[write](session, lease)

    assert changed(before, rows.row(row_id))


def test_a_commit_records_the_step_and_the_word_between_two_stages(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(stalls=1, attempts=2)
    lease = rows.claim_one()

    with sessions.begin() as session:
        committed = leases.commit(session, lease)

    row = rows.row(row_id)
    assert (row.status, row.step, row.attempts, row.stalls) == ("halfway", "first", 1, 0)
    assert row.lease_token == lease.token
    assert (committed.status, committed.step, committed.attempts, committed.stalls) == (
        "halfway", "first", 1, 0,
    )  # fmt: skip


def test_a_commit_repeated_after_a_lost_answer_applies_nothing_twice(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()

    def commit() -> None:
        with sessions.begin() as session:
            leases.commit(session, lease)
            save(session, lease, None)

    commit()  # its answer was lost
    with pytest.raises(LeaseLost):
        commit()

    with sessions.begin() as session:
        assert effects(session) == {(row_id, "first"): 1}
        assert leases.had_committed(session, lease, "first")
        assert not leases.had_committed(session, lease, "second")
        assert not leases.had_committed(session, replace(lease, id=row_id + 1), "first")


def test_progress_reported_late_does_not_undo_a_commit(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    with sessions.begin() as session:
        leases.commit(session, lease)

    with sessions.begin() as session, pytest.raises(LeaseLost):
        leases.progress(session, lease, "working")

    assert rows.row(row_id).status == "halfway"


def test_a_commit_of_a_worker_that_lost_its_row_is_not_taken_for_committed(
    rows: Rows, sessions: Sessions
) -> None:
    rows.one()
    stale = rows.claim_one()
    with sessions.begin() as session:
        leases.commit(session, stale)
    reaped_and_claimed_again(rows, stale)

    with sessions.begin() as session:
        assert not leases.had_committed(session, stale, "first")


def test_domain_rows_of_a_lost_lease_are_rolled_back_with_its_commit(
    rows: Rows, sessions: Sessions
) -> None:
    rows.one()
    stale = rows.claim_one()
    reaped_and_claimed_again(rows, stale)

    with pytest.raises(LeaseLost), sessions.begin() as session:  # noqa: PT012 - one transaction
        save(session, stale, None)
        leases.commit(session, stale)

    with sessions.begin() as session:
        assert effects(session) == {}


def test_a_heartbeat_extends_the_lease_and_is_no_progress(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    before = rows.row(row_id)

    with sessions.begin() as session:
        assert leases.heartbeat(session, PROBE, [lease], ttl=timedelta(hours=1)) == set()

    after = changed(before, rows.row(row_id))
    assert set(after) == {"heartbeat_at", "lease_expires_at"}


def test_reported_progress_moves_the_progress_time(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    before = rows.row(row_id)

    with sessions.begin() as session:
        assert leases.progress(session, lease, "finishing").status == "finishing"

    assert {"status", "progressed_at"} <= set(changed(before, rows.row(row_id)))


def test_a_heartbeat_skips_a_locked_row_and_does_not_call_it_lost(
    rows: Rows, sessions: Sessions
) -> None:
    locked, free = rows.add(count=2)
    claimed = rows.claim()
    before = rows.row(free)
    with sessions.begin() as other, sessions.begin() as session:
        other.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": locked})
        session.execute(text("SET LOCAL lock_timeout = '1ms'"))

        assert leases.heartbeat(session, PROBE, claimed) == set()

    assert rows.row(free).heartbeat_at > before.heartbeat_at


def test_a_heartbeat_of_a_batch_names_exactly_the_lost_rows(rows: Rows, sessions: Sessions) -> None:
    rows.add(count=3)
    first, second, third = rows.claim()
    reaped_and_claimed_again(rows, second)

    with sessions.begin() as session:
        assert leases.heartbeat(session, PROBE, [first, second, third]) == {second.id}


def test_a_workers_transaction_that_freezes_lets_go_of_its_row(
    rows: Rows, engine: Engine, sessions: Sessions
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    limited = make_sessions(engine, limit=timedelta(milliseconds=100))
    with limited() as frozen, sessions() as impatient:
        leases.commit(frozen, lease)
        # Waits for the frozen transaction to be ended by the server: far longer than its limit.
        impatient.execute(text("SET LOCAL lock_timeout = '10s'"))
        impatient.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": row_id})

        with pytest.raises(DBAPIError) as ended:
            frozen.execute(text("SELECT 1"))
        frozen.invalidate()

    assert worth_repeating(ended.value)
    assert rows.row(row_id).step is None


def test_a_workers_statement_is_cancelled_after_one_lease_time(engine: Engine) -> None:
    limited = make_sessions(engine, limit=timedelta(milliseconds=50))
    with limited() as session, pytest.raises(DBAPIError) as cancelled:
        session.execute(text("SELECT pg_sleep(20)"))

    assert worth_repeating(cancelled.value)
