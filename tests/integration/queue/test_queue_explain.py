"""Why a row is where it is and what happens next: one test for each reason."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from backend.db import Sessions
from backend.queue import control, leases, reasons, situation
from backend.queue.explain import Explanation, explain
from backend.queue.fleet import Worker
from backend.queue.lifecycle import FAILURES, Meaning, Queue
from backend.queue.retry import Died, Permanent, Transient
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE, PUBLISH

Ask = Callable[..., Explanation]
REASONS = [
    "waiting", "next", "backing-off", "snoozed", "scheduled", "paused", "no-worker", "draining",
    "suspect", "blocked", "held", "stalled", "worker-gone", "waiting-for-person", "resting", "done",
    "entering", "unknown-status", "rejected", "human", "permanent", "exhausted", "timeout",
    "poison", "cancelled",
]  # fmt: skip


@pytest.fixture
def ask(sessions: Sessions) -> Ask:
    def asking(row_id: int, queue: Queue = PROBE) -> Explanation:
        with sessions.begin() as session:
            found = explain(session, queue, row_id)
        assert found is not None
        assert found.reason in REASONS
        assert found.id == row_id
        assert found.sentence.endswith(".")
        return found

    return asking


@pytest.fixture
def worker(sessions: Sessions) -> Callable[..., None]:
    def work(name: str = "w", *queues: Queue, **values: Any) -> None:
        with sessions.begin() as session:
            session.execute(
                insert(Worker).values(
                    name=name, hostname="h", pid=1, version="1",
                    queues=[queue.name for queue in queues or (PROBE,)], **values,
                )
            )  # fmt: skip

    return work


def soon(found: Explanation, at_most: float = 60.0) -> bool:
    assert found.next_at is not None
    return abs((found.next_at - datetime.now(UTC)).total_seconds()) < at_most


def test_a_row_that_is_not_there_has_no_explanation(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert explain(session, PROBE, 99) is None


# --- ready ---------------------------------------------------------------------------------------


def test_next_is_the_row_that_the_next_claim_takes(rows: Rows, ask: Ask, worker: Any) -> None:
    worker()
    row_id = rows.one()

    found = ask(row_id)

    assert found.reason == "next"
    assert rows.claim_one().id == row_id


def test_waiting_tells_how_many_rows_a_claim_takes_before(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    rows.add(count=3, available_at=ago("1 minute"))
    row_id = rows.one()
    rows.add(count=2, priority=9)
    rows.add(count=4, priority=1)
    rows.add(count=5, priority=9, stalls=2)  # suspects are in no lane
    rows.add(count=6, priority=9, available_at=ago("-1 hour"))  # not due
    rows.add(PUBLISH, 7, priority=9)

    found = ask(row_id)

    assert (found.reason, found.facts["behind"]) == ("waiting", 5)
    assert "behind 5 rows" in found.sentence
    assert row_id not in {lease.id for lease in rows.claim(limit=5)}
    assert rows.claim_one().id == row_id


def test_waiting_counts_a_less_urgent_lane_that_has_grown_old(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    rows.add(count=2, priority=1, available_at=ago("2 hours"))
    row_id = rows.one(priority=5)

    assert ask(row_id).facts["behind"] == 2
    assert row_id not in {lease.id for lease in rows.claim(limit=2)}


def test_waiting_says_over_where_there_are_more_than_it_counts(
    rows: Rows, ask: Ask, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.queue.explain.COUNTED", 5)
    monkeypatch.setattr(reasons, "COUNTED", 5)
    worker()
    rows.add(count=4, priority=7)
    rows.add(count=4, available_at=ago("1 minute"))
    row_id = rows.one()

    found = ask(row_id)

    assert "behind over 5 rows" in found.sentence
    assert (found.facts["behind"], found.facts["behind_more"]) == (5, True)


def test_waiting_in_a_fair_queue_counts_its_own_key_in_its_own_partition(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker("w", ERRAND)
    rows.add(ERRAND, 3, fairness_key="ann", available_at=ago("1 minute"))
    rows.add(ERRAND, 3, fairness_key="ann", available_at=ago("1 minute"), queue="beta")
    rows.add(ERRAND, 9, fairness_key="bob", available_at=ago("1 minute"))
    row_id = rows.one(ERRAND, fairness_key="ann")

    found = ask(row_id, ERRAND)

    assert (found.reason, found.facts["behind"]) == ("waiting", 3)
    assert (found.facts["partition"], found.facts["fairness_key"]) == ("alpha", "ann")
    assert "keys take turns" in found.sentence
    assert "see that one serves alpha" in found.sentence


def settled(rows: Rows, ending: Callable[[leases.Lease], leases.Settlement], **values: Any) -> int:
    """A row whose attempt ended like that."""
    row_id = rows.one(**values)
    assert rows.settle(ending(rows.claim_one())) == set()
    rows.change(row_id, available_at=ago("-30 seconds"))
    return row_id


def test_backing_off_tells_the_error_the_attempt_and_the_time(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    row_id = settled(rows, lambda lease: leases.after_error(lease, Transient("status 503")))

    found = ask(row_id)

    assert found.reason == "backing-off"
    assert found.sentence.startswith("Attempt 1 of 4 failed: status 503. It is tried again after ")
    assert (found.facts["attempts"], found.facts["max_attempts"]) == (1, 4)
    assert found.facts["error"] == "status 503"
    assert 0 < found.facts["seconds"] <= 30  # type: ignore[operator] # a number, as asserted
    assert soon(found)


def test_backing_off_after_the_death_of_its_child(rows: Rows, ask: Ask, worker: Any) -> None:
    worker()
    row_id = settled(rows, lambda lease: leases.after_error(lease, Died("signal 9")))

    found = ask(row_id)

    assert (found.reason, found.facts["stalls"]) == ("backing-off", 1)
    assert found.sentence.startswith("Its child process died: signal 9.")


def test_snoozed_is_told_from_backing_off_by_its_last_attempt(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    put_off = timedelta(seconds=30)
    row_id = settled(rows, lambda lease: leases.snoozed(lease, put_off, "the registry rests"))

    found = ask(row_id)

    assert found.reason == "snoozed"
    assert found.sentence.startswith("It was put off, no attempt burnt: the registry rests.")
    assert soon(found)


def test_scheduled_is_a_row_that_is_not_due_and_never_failed(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()

    found = ask(rows.one(available_at=ago("-3 hours")))

    assert found.reason == "scheduled"
    assert "(in 3 h)" in found.sentence


@pytest.mark.parametrize(("partition", "what"), [("", "The queue errand"), ("beta", "beta")])
def test_paused_tells_by_whom_since_when_why_and_how_far(
    rows: Rows, ask: Ask, sessions: Sessions, partition: str, what: str
) -> None:
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="anna", partition=partition, reason="disk is full")

    found = ask(rows.one(ERRAND, queue="beta"), ERRAND)

    assert found.reason == "paused"
    assert f"{what} has been paused by anna since " in found.sentence
    assert "disk is full" in found.sentence
    assert (found.facts["paused_by"], found.facts["paused_partition"]) == (
        "anna", partition or None,
    )  # fmt: skip


def test_a_pause_of_another_partition_is_no_pause(
    rows: Rows, ask: Ask, worker: Any, sessions: Sessions
) -> None:
    worker("w", ERRAND)
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="anna", partition="beta")

    assert ask(rows.one(ERRAND, queue="alpha"), ERRAND).reason == "next"


def test_no_worker_tells_when_one_was_last_seen(rows: Rows, ask: Ask, worker: Any) -> None:
    worker("elsewhere", PARCEL)
    worker("older", heartbeat_at=ago("3 hours"))
    worker("late", heartbeat_at=ago("5 minutes"))

    found = ask(rows.one())

    assert (found.reason, found.facts["worker"]) == ("no-worker", "late")
    assert "the last one that was lost, late, was seen 5 min ago" in found.sentence


def test_no_worker_says_so_where_none_was_ever_seen(rows: Rows, ask: Ask) -> None:
    found = ask(rows.one())

    assert found.reason == "no-worker"
    assert "Start one." in found.sentence


def test_draining_is_a_queue_whose_live_workers_claim_no_more(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker("leaving", draining=True)
    row_id = rows.one()

    assert ask(row_id).reason == "draining"
    worker("fresh")
    assert ask(row_id).reason == "next"


def test_suspect_is_a_row_that_stalled_twice_and_waits_to_run_alone(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    row_id = rows.one()
    for _ in range(2):
        rows.claim_one()
        rows.expire(row_id)
        rows.reap()

    found = ask(row_id)

    assert (found.reason, found.facts["stalls"]) == ("suspect", 2)
    assert "It stalled 2 times (the last one: " in found.sentence
    assert "runs there alone" in found.sentence


def test_suspect_by_the_wish_of_a_person_did_not_stall(
    rows: Rows, ask: Ask, worker: Any, sessions: Sessions
) -> None:
    worker()
    row_id = rows.one(
        status="broken", failure="poison", failed_from="waiting", error="killed by SIGKILL",
        completed_at=ago("1 hour"),
    )  # fmt: skip
    with sessions.begin() as session:
        assert control.requeue(session, PROBE, [row_id], alone=True) == [row_id]

    found = ask(row_id)

    assert found.reason == "suspect"
    assert found.sentence.startswith("It was requeued to run alone: it waits for a worker process")


@pytest.mark.parametrize("held", [False, True])
def test_blocked_is_a_row_that_an_open_transaction_has_locked(
    rows: Rows, ask: Ask, worker: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    worker()
    row_id = rows.one()
    if held:
        rows.claim_one()
        rows.expire(row_id)
    with engine.begin() as other:
        pid = other.scalar(text("SELECT pg_backend_pid() FROM probe FOR UPDATE"))
        assert ask(row_id).reason == ("stalled" if held else "next")  # ours lock, too, for a moment
        monkeypatch.setattr(situation, "LOCKED", 0.0)
        found = ask(row_id)
        assert rows.claim() == []
        assert rows.reap() == []

    assert (found.reason, found.facts["pid"]) == ("blocked", pid)
    assert f"pg_terminate_backend({pid})" in found.sentence
    assert ask(row_id).reason == ("stalled" if held else "next")


# --- held ----------------------------------------------------------------------------------------


def test_held_tells_by_whom_since_when_at_which_step_and_until_when(
    rows: Rows, ask: Ask, worker: Any, sessions: Sessions
) -> None:
    worker()
    row_id = rows.one()
    lease = rows.claim_one()
    with sessions.begin() as session:
        leases.commit(session, lease)
    rows.change(row_id, started_at=ago("100 seconds"), progressed_at=ago("40 seconds"))

    found = ask(row_id)

    assert (found.reason, found.status) == ("held", "halfway")
    assert "Worker w has held it for 100 s and works on 'second'" in found.sentence
    assert "the last progress was 40 s ago" in found.sentence
    assert (found.facts["worker"], found.facts["working_on"]) == ("w", "second")
    assert str(found.facts["lease_expires_at"]).endswith("Z")


def test_stalled_is_a_lease_that_ended_and_will_be_reaped(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    row_id = rows.one()
    rows.claim_one()
    rows.expire(row_id)

    found = ask(row_id)

    assert found.reason == "stalled"
    assert "takes it back within seconds, and it is ready again" in found.sentence
    assert soon(found)
    rows.reap()
    assert ask(row_id).reason == "next"


def test_stalled_while_alone_will_be_poison(rows: Rows, ask: Ask, worker: Any) -> None:
    worker()
    row_id = rows.one(stalls=2)
    assert rows.claim_suspect() is not None
    assert "runs alone" in ask(row_id).sentence
    rows.expire(row_id)

    found = ask(row_id)

    assert found.reason == "stalled"
    assert "sets it aside as poison" in found.sentence
    rows.reap()
    assert ask(row_id).reason == "poison"


def test_stalled_without_a_live_worker_is_not_promised_a_reaper(rows: Rows, ask: Ask) -> None:
    row_id = rows.one()
    rows.claim_one()
    rows.expire(row_id)

    found = ask(row_id)

    assert (found.reason, found.next_at) == ("stalled", None)
    assert "start one" in found.sentence


def test_worker_gone_is_a_row_whose_holder_is_not_alive(rows: Rows, ask: Ask, worker: Any) -> None:
    worker("w", heartbeat_at=ago("2 minutes"))
    worker("other")
    row_id = rows.one()
    rows.claim_one()

    found = ask(row_id)

    assert found.reason == "worker-gone"
    assert "it was last seen 2 min ago" in found.sentence
    assert soon(found)


def test_draining_is_a_row_whose_holder_finishes_it_or_hands_it_back(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker("w", draining=True)
    row_id = rows.one()
    rows.claim_one()

    found = ask(row_id)

    assert (found.reason, found.facts["worker"]) == ("draining", "w")
    assert "hands the row back" in found.sentence


# --- ended ---------------------------------------------------------------------------------------


def test_done_is_a_row_that_is_finished(rows: Rows, ask: Ask) -> None:
    row_id = rows.one()
    rows.settle(leases.done(rows.claim_one()))

    found = ask(row_id)

    assert (found.reason, found.next_at) == ("done", None)
    assert found.sentence.startswith("It is finished at ")


def test_waiting_for_a_person_is_what_the_descriptor_says_of_a_word(rows: Rows, ask: Ask) -> None:
    judged = replace(PROBE, meaning={"finished": Meaning("A judge must judge it.", person=True)})
    row_id = rows.one()
    rows.settle(leases.done(rows.claim_one()))

    found = ask(row_id, judged)

    assert (found.reason, found.sentence) == ("waiting-for-person", "A judge must judge it.")


def test_waiting_for_a_person_is_a_ready_row_that_has_no_time_yet(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker()
    row_id = rows.one(available_at="infinity")

    found = ask(row_id)

    assert (found.reason, found.facts["available_at"]) == ("waiting-for-person", None)
    assert "somebody must release it" in found.sentence


@pytest.mark.parametrize("meaning", [{}, {"shelved": Meaning("Nobody wants it.")}])
def test_resting_is_a_word_that_no_queue_works_on(
    rows: Rows, ask: Ask, meaning: dict[str, Meaning]
) -> None:
    row_id = rows.one(status="shelved", completed_at=ago("1 hour"))

    found = ask(row_id, replace(PROBE, meaning=meaning))

    assert found.reason == "resting"
    assert found.sentence in ("Nobody wants it.", "It rests as 'shelved': no queue works on it.")


def test_a_row_that_is_not_work_yet_says_so_and_is_left_alone(rows: Rows, ask: Ask) -> None:
    row_id = rows.one(status="drafted")

    assert rows.claim() == []
    found = ask(row_id)
    assert (found.reason, found.sentence) == ("entering", "Somebody still writes it.")


def test_rejected_tells_the_reason_of_the_policy(rows: Rows, ask: Ask) -> None:
    row_id = rows.one()
    rows.settle(leases.failed(rows.claim_one(), "policy", "licence AGPL-3.0-only is blocked"))

    found = ask(row_id)

    assert found.reason == "rejected"
    assert "Policy refused it: licence AGPL-3.0-only is blocked." in found.sentence
    assert found.facts["failure"] == "policy"


def test_permanent_is_an_input_at_fault(rows: Rows, ask: Ask) -> None:
    row_id = rows.one()
    rows.settle(leases.after_error(rows.claim_one(), Permanent("no archive")))

    found = ask(row_id)

    assert found.reason == "permanent"
    assert "no archive" in found.sentence
    assert "A person may requeue it" in found.sentence


def test_exhausted_is_a_row_without_attempts_left(rows: Rows, ask: Ask) -> None:
    row_id = rows.one(attempts=3)
    rows.settle(leases.after_error(rows.claim_one(), Transient("status 503")))

    found = ask(row_id)

    assert found.reason == "exhausted"
    assert "It failed 4 times of at most 4, the last time with: status 503." in found.sentence


def test_cancelled_tells_why(rows: Rows, ask: Ask, sessions: Sessions) -> None:
    row_id = rows.one(ERRAND)
    with sessions.begin() as session:
        control.cancel(session, ERRAND, [row_id], why="anna withdrew it")

    found = ask(row_id, ERRAND)

    assert (found.reason, found.status) == ("cancelled", "withdrawn")
    assert "It was cancelled: anna withdrew it." in found.sentence


def test_cancelled_says_so_once(rows: Rows, ask: Ask, sessions: Sessions) -> None:
    row_id = rows.one(ERRAND)
    with sessions.begin() as session:
        control.cancel(session, ERRAND, [row_id], why="cancelled by anna: not needed")

    assert "It was cancelled by anna: not needed. It stays so" in ask(row_id, ERRAND).sentence


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_a_reason_of_its_own_and_says_what_a_person_may_do(
    rows: Rows, ask: Ask, failure: str
) -> None:
    row_id = rows.one(
        status="broken", failure=failure, failed_from="waiting", error="because.", attempts=4,
        completed_at=ago("1 hour"),
    )  # fmt: skip

    found = ask(row_id)

    assert found.reason == {"policy": "rejected"}.get(failure, failure)
    assert "because. " in found.sentence
    assert "person" in found.sentence
    assert 3590 < found.facts["seconds"] < 3700  # type: ignore[operator] # a number, as asserted


# --- two queues, one table -----------------------------------------------------------------------


def test_a_row_in_another_queue_of_its_table_is_explained_there_and_says_so(
    rows: Rows, ask: Ask, worker: Any
) -> None:
    worker("w", PUBLISH)
    row_id = rows.one(PUBLISH)

    found = ask(row_id, PROBE)

    assert (found.queue, found.reason, found.facts["asked"]) == ("probe_publish", "next", "probe")
    assert found.sentence.startswith("It is in the queue probe_publish now, of the same table.")
    assert "asked" not in ask(row_id, PUBLISH).facts


def test_a_failed_row_belongs_to_the_queue_that_it_failed_in(rows: Rows, ask: Ask) -> None:
    row_id = rows.one(PUBLISH)
    rows.settle(leases.after_error(rows.claim_one(PUBLISH), Permanent("no room")))

    found = ask(row_id, PROBE)

    assert (found.queue, found.reason) == ("probe_publish", "permanent")


def test_an_unknown_status_is_said_to_be_unknown(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    with sessions() as session:
        session.execute(text("ALTER TABLE probe DROP CONSTRAINT ck_probe_status"))
        session.execute(text("UPDATE probe SET status = 'pickled'"))
        found = explain(session, PROBE, row_id)
        session.rollback()

    assert found is not None
    assert (found.reason, found.queue) == ("unknown-status", "probe")
    assert "'pickled'" in found.sentence
