"""A step's rows in one message with its fence: the fence holds there too, and nothing doubles."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from backend.autocommit import Statement
from backend.db import Sessions
from backend.queue import control, leases
from backend.queue.leases import Lease
from backend.queue.writes import OURS, Write, Writes
from tests.integration.queue.ledger import Rows, changed
from tests.integration.queue.probe_workload import PROBE, effects

COUNT = Statement(f"""
INSERT INTO probe_effects (queue, row_id, step, times)
SELECT 'probe', id, %(stage)s, CAST(%(times)s AS int) FROM probe WHERE id = %(row_id)s AND {OURS}
ON CONFLICT (queue, row_id, step) DO UPDATE SET times = probe_effects.times + 1
RETURNING times
""")
EFFECT = Write((COUNT,), {"stage": "first", "times": "1"})
NOTED = Write(
    (COUNT,), {"stage": "first", "times": "1", "note": "seen"}, (("payload", "upper(:note)"),)
)

Loss = Callable[[Rows, Lease], object]
Send = Callable[..., bool]


def expired(rows: Rows, lease: Lease) -> None:
    rows.expire(lease.id)
    assert rows.reap()


def cancelled(rows: Rows, lease: Lease) -> None:
    with rows.sessions.begin() as session:
        assert control.cancel(session, PROBE, [lease.id], why="enough")


def taken_over(rows: Rows, lease: Lease) -> None:
    expired(rows, lease)
    assert rows.claim_one(worker="fresh").token != lease.token


def commit(writes: Writes, lease: Lease, write: Write = EFFECT) -> bool:
    return bool(writes.commit(lease, write))


def settle(writes: Writes, lease: Lease, write: Write = EFFECT) -> bool:
    return writes.settle(leases.done(lease), write)


def progress(writes: Writes, lease: Lease) -> bool:
    return writes.progress(lease, "finishing")


@pytest.fixture
def writes(engine: Engine) -> Writes:
    return Writes(engine, ttl=timedelta(seconds=12))


def applied(sessions: Sessions) -> dict[tuple[int, str], int]:
    with sessions.begin() as session:
        return effects(session)


def test_a_commit_and_its_rows_are_stored_together(
    rows: Rows, sessions: Sessions, writes: Writes
) -> None:
    row_id = rows.one(stalls=1, attempts=2)

    assert writes.commit(rows.claim_one(), EFFECT)

    row = rows.row(row_id)
    assert (row.status, row.step, row.attempts, row.stalls) == ("halfway", "first", 1, 0)
    assert applied(sessions) == {(row_id, "first"): 1}


def test_a_settlement_and_its_rows_are_stored_together_with_history(
    rows: Rows, sessions: Sessions, writes: Writes
) -> None:
    row_id = rows.one()

    assert writes.settle(leases.failed(rows.claim_one(), "policy", "no"), EFFECT)

    assert (rows.row(row_id).status, rows.outcomes()) == ("broken", ["failed"])
    assert applied(sessions) == {(row_id, "first"): 1}


@pytest.mark.parametrize("loss", [expired, cancelled, taken_over])
@pytest.mark.parametrize("send", [commit, settle, progress])
def test_with_a_lost_lease_neither_the_row_nor_its_rows_are_written(
    rows: Rows, sessions: Sessions, writes: Writes, send: Send, loss: Loss
) -> None:
    row_id = rows.one()
    stale = rows.claim_one(worker="slow")
    loss(rows, stale)
    before, history = rows.row(row_id), rows.outcomes()

    assert not send(writes, stale)

    assert changed(before, rows.row(row_id)) == {}
    assert (rows.outcomes(), applied(sessions)) == (history, {})


@pytest.mark.parametrize("send", [commit, settle])
def test_what_is_sent_again_after_a_lost_answer_applies_nothing_twice(
    rows: Rows, sessions: Sessions, writes: Writes, send: Send
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()

    assert send(writes, lease)  # its answer was lost
    assert not send(writes, lease)

    assert applied(sessions) == {(row_id, "first"): 1}


@pytest.mark.parametrize("send", [commit, settle])
def test_rows_that_the_database_refuses_take_the_fence_with_them(
    rows: Rows, sessions: Sessions, writes: Writes, send: Send
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    before = rows.row(row_id)
    refused = Write((COUNT,), {"stage": "first", "times": "none"})

    with pytest.raises(DataError):
        send(writes, lease, refused)

    assert changed(before, rows.row(row_id)) == {}
    assert (rows.outcomes(), applied(sessions)) == ([], {})


@pytest.mark.parametrize("send", [commit, settle])
def test_columns_of_the_rows_own_domain_are_set_by_the_fence(
    rows: Rows, sessions: Sessions, writes: Writes, send: Send
) -> None:
    row_id = rows.one()

    assert send(writes, rows.claim_one(), NOTED)

    assert rows.row(row_id).payload == "SEEN"
    assert applied(sessions) == {(row_id, "first"): 1}


@pytest.mark.parametrize("send", [commit, settle])
def test_columns_of_a_row_whose_lease_is_lost_stay_as_they_are(
    rows: Rows, writes: Writes, send: Send
) -> None:
    row_id = rows.one()
    stale = rows.claim_one(worker="slow")
    taken_over(rows, stale)
    before = rows.row(row_id)

    assert not send(writes, stale, NOTED)

    assert changed(before, rows.row(row_id)) == {}


def test_what_takes_the_ordinary_way_stores_the_same(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    lease = rows.claim_one()

    with sessions.begin() as session:
        leases.commit(session, lease)
        NOTED.save(session, lease)

    assert rows.row(row_id).payload == "SEEN"
    assert applied(sessions) == {(row_id, "first"): 1}
