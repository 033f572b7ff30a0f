"""What people do: requeue, reopen, cancel; each idempotent, none of it behind a worker's back."""

import pytest

from backend.db import Sessions
from backend.queue import control, leases
from backend.queue.lifecycle import FAILURES, PROCESSING_FAILURES
from backend.queue.retry import LeaseLost, Permanent
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND, PROBE, PUBLISH, effects, save


def broken(rows: Rows, failure: str) -> int:
    return rows.one(
        status="broken", failure=failure, failed_from="waiting", error="why", attempts=4, stalls=2,
        step="first", completed_at=ago("1 hour"), available_at=ago("-1 hour"),
    )  # fmt: skip


def test_a_requeued_row_starts_afresh(rows: Rows, sessions: Sessions) -> None:
    row_id = broken(rows, "exhausted")
    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [row_id]) == [row_id]

    row = rows.row(row_id)
    assert (row.status, row.attempts, row.stalls, row.step) == ("waiting", 0, 0, None)
    assert (row.failure, row.failed_from, row.error, row.completed_at) == (None, None, None, None)
    assert rows.claim_one().id == row_id


def test_a_requeue_takes_by_default_only_what_failed_in_processing(
    rows: Rows, sessions: Sessions
) -> None:
    by_failure = {failure: broken(rows, failure) for failure in FAILURES}
    with sessions.begin() as session:
        requeued = control.requeue(session, PROBE, list(by_failure.values()))

    assert requeued == sorted(by_failure[failure] for failure in PROCESSING_FAILURES)


def test_a_requeue_takes_a_verdict_only_where_it_is_named(rows: Rows, sessions: Sessions) -> None:
    policy, human = broken(rows, "policy"), broken(rows, "human")
    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [policy, human], failures=["policy"]) == [policy]


def test_a_requeue_repeated_changes_nothing_more(rows: Rows, sessions: Sessions) -> None:
    row_id = broken(rows, "timeout")
    with sessions.begin() as session:
        control.requeue(session, PROBE, [row_id])
    lease = rows.claim_one()

    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [row_id]) == []
    assert rows.settle(leases.done(lease)) == set()
    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [row_id]) == []


def test_a_row_is_requeued_into_the_queue_it_failed_in(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one(PUBLISH)
    rows.settle(leases.after_error(rows.claim_one(PUBLISH), Permanent("refused")))

    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [row_id]) == []
        assert control.requeue(session, PUBLISH, [row_id]) == [row_id]
    assert rows.row(row_id).status == "approved"


def test_a_done_row_is_reopened_after_the_step_that_is_named(
    rows: Rows, sessions: Sessions
) -> None:
    row_id, refused = rows.one(), broken(rows, "policy")
    rows.settle(leases.done(rows.claim_one()))
    with sessions.begin() as session:
        assert control.reopen(session, PROBE, [row_id, refused], step="first") == [row_id]

    assert rows.row(row_id).status == "waiting"
    assert rows.claim_one().status == "finishing"
    with sessions.begin() as session:
        assert control.reopen(session, PROBE, [refused], failures=["policy"]) == [refused]


def test_a_waiting_row_is_cancelled_and_not_claimed(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    with sessions.begin() as session:
        assert control.cancel(session, PROBE, [row_id], why="no longer wanted") == [row_id]
        assert control.cancel(session, PROBE, [row_id], why="again") == []

    row = rows.row(row_id)
    assert (row.status, row.failure, row.error) == ("broken", "cancelled", "no longer wanted")
    assert rows.claim() == []
    assert rows.outcomes() == ["cancelled"]


def test_a_running_row_is_cancelled_and_its_workers_next_write_is_refused(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    lease = rows.claim_one(worker="busy")
    with sessions.begin() as session:
        control.cancel(session, PROBE, [row_id], why="stop")

    with pytest.raises(LeaseLost), sessions.begin() as session:  # noqa: PT012 - one transaction
        save(session, lease, None)
        leases.commit(session, lease)
    with sessions.begin() as session:
        assert effects(session) == {}
    (line,) = rows.history()
    assert (line.worker, line.outcome, line.failure) == ("busy", "cancelled", "cancelled")


def test_a_lifecycle_with_a_word_for_it_ends_a_cancel_there(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one(ERRAND)
    with sessions.begin() as session:
        control.cancel(session, ERRAND, [row_id], why="stop")
    assert rows.row(row_id, ERRAND).status == "withdrawn"

    with sessions.begin() as session:
        assert control.requeue(session, ERRAND, [row_id]) == []
        assert control.requeue(session, ERRAND, [row_id], failures=["cancelled"]) == [row_id]


def test_ended_rows_are_not_cancelled(rows: Rows, sessions: Sessions) -> None:
    rows.one()
    lease = rows.claim_one()
    rows.settle(leases.done(lease))
    failed = broken(rows, "policy")
    with sessions.begin() as session:
        assert control.cancel(session, PROBE, [lease.id, failed], why="x") == []
    assert rows.row(failed).failure == "policy"


def test_a_cancel_leaves_rows_of_the_tables_other_queue_alone(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(PUBLISH)
    with sessions.begin() as session:
        assert control.cancel(session, PROBE, [row_id], why="x") == []
