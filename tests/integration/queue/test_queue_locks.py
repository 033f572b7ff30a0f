"""Two transactions at one row, in an order that the test decides: no luck is asked."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import control, leases, reaper
from backend.queue.leases import Lease
from backend.queue.retry import LeaseLost
from tests.integration.queue.ledger import MOMENT, Rows, ago, changed, eventually, horizons
from tests.integration.queue.probe_workload import PROBE

Work = Callable[[Session], object]
Write = Callable[[Session, Lease], object]


@contextmanager
def waiting(sessions: Sessions, work: Work) -> Iterator[Future[object]]:
    """``work`` in a transaction and thread of its own; entered once it waits for a lock."""
    pids: SimpleQueue[int] = SimpleQueue()

    def run() -> object:
        with sessions.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = '20s'"))
            pids.put(session.scalar(text("SELECT pg_backend_pid()")) or 0)
            return work(session)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        pid = pids.get(timeout=10)

        def waits() -> bool:
            assert not running.done(), f"it did not wait: {running.result()!r}"
            with sessions() as session:
                blockers = text("SELECT cardinality(pg_blocking_pids(:pid))")
                return bool(session.scalar(blockers, {"pid": pid}))

        eventually(waits)
        yield running


def reap(session: Session, _lease: Lease) -> object:
    return reaper.reap(session, PROBE, horizons=horizons(PROBE), ttl=MOMENT)


def cancel(session: Session, lease: Lease) -> list[int]:
    return control.cancel(session, PROBE, [lease.id], why="enough")


def settle(session: Session, lease: Lease) -> set[int]:
    return leases.settle(session, PROBE, [leases.done(lease)])


def release(session: Session, lease: Lease) -> set[int]:
    return leases.release(session, PROBE, [lease])


ENDS: dict[str, Write] = {"reap": reap, "cancel": cancel, "settle": settle, "release": release}
WRITES: dict[str, Write] = {
    "commit": leases.commit,
    "progress": lambda session, lease: leases.progress(session, lease, "finishing"),
    "settle": lambda session, lease: leases.settle_one(session, leases.failed(lease, "policy", "")),
    "release": lambda session, lease: leases.settle_one(session, leases.released(lease)),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_waited_for_the_end_of_its_attempt_finds_its_lease_lost(
    rows: Rows, sessions: Sessions, write: str, end: str
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    rows.expire(row_id)
    with sessions() as first:
        ENDS[end](first, lease)
        with waiting(sessions, lambda session: WRITES[write](session, lease)) as second:
            first.commit()
            ended, history = rows.row(row_id), rows.outcomes()
            with pytest.raises(LeaseLost):
                second.result(10)

    assert changed(ended, rows.row(row_id)) == {}
    assert rows.outcomes() == history
    assert len(history) == 1


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_waited_for_an_end_that_was_rolled_back_is_made(
    rows: Rows, sessions: Sessions, write: str
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    before = rows.row(row_id)
    with sessions() as first:
        cancel(first, lease)
        with waiting(sessions, lambda session: WRITES[write](session, lease)) as second:
            first.rollback()
            second.result(10)

    assert changed(before, rows.row(row_id))


def test_a_commit_sent_again_while_the_first_one_is_under_way_is_made_once(
    rows: Rows, sessions: Sessions
) -> None:
    rows.one()
    lease = rows.claim_one()
    with sessions() as first:
        leases.commit(first, lease)
        with waiting(sessions, lambda session: leases.commit(session, lease)) as second:
            first.commit()
            with pytest.raises(LeaseLost):
                second.result(10)


def test_a_cancel_that_waited_for_a_settlement_cancels_nothing(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    with sessions() as first:
        settle(first, lease)
        with waiting(sessions, lambda session: cancel(session, lease)) as second:
            first.commit()
            assert second.result(10) == []

    assert rows.row(row_id).status == "finished"
    assert rows.outcomes() == ["done"]


def test_a_requeue_that_waited_for_another_one_does_not_touch_the_row_again(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    rows.settle(leases.failed(rows.claim_one(), "permanent", ""))

    def requeue(session: Session) -> list[int]:
        return control.requeue(session, PROBE, [row_id])

    with sessions() as first:
        assert requeue(first) == [row_id]
        with waiting(sessions, requeue) as second:
            (lease,) = leases.claim(first, PROBE, worker="w", limit=1)
            first.commit()
            assert second.result(10) == []

    assert rows.row(row_id).lease_token == lease.token


def test_a_suspect_that_somebody_is_claiming_is_not_waited_for(
    rows: Rows, sessions: Sessions
) -> None:
    first, second = rows.add(count=2, stalls=2)
    with sessions.begin() as one, sessions.begin() as two:
        two.execute(text("SET LOCAL lock_timeout = '1ms'"))
        claimed = [leases.claim_suspect(s, PROBE, worker="w") for s in (one, two)]

    assert [lease and lease.id for lease in claimed] == [first, second]


PAUSED_CLOCK = """
CREATE SCHEMA paused;
CREATE FUNCTION paused.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(1);
    RETURN pg_catalog.clock_timestamp();
END $$;
SET LOCAL search_path = paused, public, pg_catalog
"""


def test_a_row_whose_heartbeat_came_while_the_reaper_looked_at_it_is_not_reaped(
    rows: Rows, sessions: Sessions
) -> None:
    """The reaper has seen the row expired and not yet locked it when the heartbeat commits."""
    row_id = rows.one()
    lease = rows.claim_one()
    rows.expire(row_id)

    def slow_reap(session: Session) -> object:
        session.execute(text(PAUSED_CLOCK))  # of this transaction alone: it is rolled back
        reaped = reap(session, lease)
        session.rollback()
        return reaped

    with sessions() as gate:
        gate.execute(text("SELECT pg_advisory_xact_lock(1)"))
        with waiting(sessions, slow_reap) as reaping:
            with sessions.begin() as session:
                assert leases.heartbeat(session, PROBE, [lease]) == set()
            gate.commit()
            assert reaping.result(10) == []


def settle_all(session: Session, held: Sequence[Lease]) -> set[int]:
    return leases.settle(session, PROBE, [leases.done(lease) for lease in reversed(held)])


def cancel_all(session: Session, held: Sequence[Lease]) -> list[int]:
    return control.cancel(session, PROBE, [lease.id for lease in held], why="enough")


def requeue_all(session: Session, held: Sequence[Lease]) -> list[int]:
    return control.requeue(session, PROBE, [lease.id for lease in held])


@pytest.mark.parametrize("batch", [settle_all, cancel_all, requeue_all])
def test_a_batch_waits_for_its_lowest_id_before_it_holds_any_other(
    rows: Rows, sessions: Sessions, batch: Callable[[Session, Sequence[Lease]], object]
) -> None:
    """So two batches cannot hold crosswise, whatever order the table or the caller has them in."""
    low, *others = rows.add(count=5)
    held = sorted(rows.claim(), key=lambda lease: lease.id)
    if batch is requeue_all:
        rows.settle(*(leases.failed(lease, "permanent", "") for lease in held))
    rows.change(low, created_at=ago("1 hour"))  # now the last one in the table's own order

    def in_the_tables_order(session: Session) -> object:
        session.execute(text("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"))
        return batch(session, held)

    free = text("SELECT id FROM probe WHERE id = ANY(:ids) FOR UPDATE NOWAIT")
    with sessions() as first:
        first.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": low})
        with waiting(sessions, in_the_tables_order) as second:
            with sessions() as session:
                assert sorted(session.scalars(free, {"ids": others})) == others
            first.rollback()
            second.result(10)
