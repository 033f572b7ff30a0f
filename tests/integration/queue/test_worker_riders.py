"""Quick steps are stored with the next one's rows: as safe, and in fewer transactions."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from backend.autocommit import Statement
from backend.db import Sessions
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.pipeline import Done, Outcome, Pipeline, Reject, Snooze, Step
from backend.queue.retry import Transient
from backend.queue.writes import HELD, OURS, Write, Writes, together
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PROBE, effects
from workers.database import Transactions
from workers.executor import Ended, Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

Run = Callable[[Any, Any], Outcome]


def counted(stage: str) -> Statement:
    return Statement(f"""
INSERT INTO probe_effects (queue, row_id, step, times)
SELECT 'probe', id, '{stage}', CAST(%(times_{stage})s AS int)
FROM probe WHERE id = %(row_id)s AND {OURS}
ON CONFLICT (queue, row_id, step) DO UPDATE SET times = probe_effects.times + 1
RETURNING times
""")


STATUS = Statement(f"SELECT status FROM probe WHERE id = %(row_id)s AND {HELD}")


def effect(stage: str, times: str = "1", **how: Any) -> Write:
    values = {f"times_{stage}": times, f"word_{stage}": stage}
    return Write((counted(stage),), values, (("payload", f":word_{stage}"),), **how)


FIRST, SECOND = effect("first"), effect("second")


def done(_snapshot: Any, _tools: None) -> Done:
    return Done({})


class Worker:
    """One row's executor, whose first step may ride with the second."""

    def __init__(self, sessions: Sessions, second: Run = done, first: Write = FIRST) -> None:
        self.carried: list[Any] = []
        self.held = Held()
        self.transactions = Transactions(sessions, threading.Event())
        self.writes = Writes(self.transactions.engine, ttl=timedelta(seconds=12))
        steps = (
            Step("first", done, write=lambda _result: first, carry=self._carry, rides=True),
            Step("second", second, write=lambda _result: SECOND),
        )
        self.executor = Executor(
            Pipeline(queue=PROBE, steps=steps), transactions=self.transactions, held=self.held,
            children=Children(1), metrics=Metrics([PROBE.name], version="1"), writes=self.writes,
        )  # fmt: skip

    def _carry(self, snapshot: Any, _result: Any, answered: Any) -> Any:
        self.carried.append(answered)
        return snapshot

    def run(self, lease: Lease) -> Ended | None:
        self.held.add([lease])
        return self.executor.run(lease)


def applied(sessions: Sessions) -> dict[tuple[int, str], int]:
    with sessions.begin() as session:
        return effects(session)


def settle(rows: Rows, ended: Ended | None) -> None:
    assert ended is not None
    assert not rows.settle(ended.settlement)


def test_a_quick_step_is_stored_with_the_next_one_and_not_before(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(attempts=2)
    seen: list[tuple[str, str | None]] = []

    def second(_snapshot: Any, _tools: None) -> Done:
        row = rows.row(row_id)
        seen.append((row.status, row.step))
        return Done({})

    assert Worker(sessions, second).run(rows.claim_one()) is None  # settled with its rows

    row = rows.row(row_id)
    assert seen == [("working", None)]
    assert (row.status, row.step, row.payload) == ("finished", "first", "second")
    assert applied(sessions) == {(row_id, "first"): 1, (row_id, "second"): 1}
    (line,) = rows.history()
    assert (line.outcome, line.step, line.attempt, row.attempts) == ("done", "first", 1, 1)


def test_a_refusal_takes_the_steps_before_it_along(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()

    Worker(sessions, lambda _snapshot, _tools: Reject("no", {})).run(rows.claim_one())

    row = rows.row(row_id)
    assert (row.status, row.failure, row.step) == ("broken", "policy", "first")
    assert applied(sessions) == {(row_id, "first"): 1, (row_id, "second"): 1}


def test_what_waits_is_stored_once_the_next_step_lasts(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()

    def second(_snapshot: Any, _tools: None) -> Done:
        eventually(lambda: rows.row(row_id).step == "first")
        return Done({})

    Worker(sessions, second).run(rows.claim_one())

    assert rows.row(row_id).status == "finished"
    assert applied(sessions) == {(row_id, "first"): 1, (row_id, "second"): 1}


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [(Transient("the network"), "retry"), (Snooze(timedelta(0), "later"), "snoozed"),
     (Reject("no"), "failed"), (SystemExit(1), "retry")],
)  # fmt: skip
def test_however_the_next_step_ends_the_attempt_what_waits_is_kept(
    rows: Rows, sessions: Sessions, ends: Any, outcome: str
) -> None:
    row_id = rows.one(attempts=2)

    def second(_snapshot: Any, _tools: None) -> Outcome:
        if isinstance(ends, BaseException):
            raise ends
        assert isinstance(ends, Snooze | Reject)
        return ends

    settle(rows, Worker(sessions, second).run(rows.claim_one()))

    row = rows.row(row_id)
    assert (row.step, row.attempts <= 1, rows.outcomes()) == ("first", True, [outcome])
    assert applied(sessions) == {(row_id, "first"): 1}


def test_with_a_lost_lease_nothing_that_waits_is_stored(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()

    def second(_snapshot: Any, _tools: None) -> Done:
        rows.expire(row_id)
        rows.reap()
        return Done({})

    assert Worker(sessions, second).run(rows.claim_one()) is None

    assert (rows.row(row_id).step, applied(sessions)) == (None, {})


def test_each_step_of_a_row_that_stalled_before_is_stored_at_once(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one(stalls=1)
    seen: list[str | None] = []

    def second(_snapshot: Any, _tools: None) -> Done:
        seen.append(rows.row(row_id).step)
        return Done({})

    Worker(sessions, second).run(rows.claim_one())

    assert seen == ["first"]


def test_rows_that_are_refused_end_their_own_step_for_good(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()

    settle(rows, Worker(sessions, first=effect("first", "none")).run(rows.claim_one()))

    row = rows.row(row_id)
    assert (row.failure, row.step) == ("permanent", None)
    assert row.error.startswith("first: its result cannot be stored")
    assert applied(sessions) == {}


@pytest.mark.parametrize("committed", [True, False])
def test_an_answer_that_is_lost_while_it_is_stored_early_doubles_nothing(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    row_id = rows.one()
    tried = threading.Event()

    def second(_snapshot: Any, _tools: None) -> Done:
        assert tried.wait(10)
        return Done({})

    worker = Worker(sessions, second)
    commit = worker.writes.commit

    def lost(*asked: Any, **how: Any) -> None:
        if committed:
            commit(*asked, **how)
        tried.set()
        raise OperationalError("lost", None, Exception())

    monkeypatch.setattr(worker.writes, "commit", lost)
    worker.run(rows.claim_one())

    assert rows.row(row_id).status == "finished"
    assert applied(sessions) == {(row_id, "first"): 1, (row_id, "second"): 1}


def test_a_commit_of_several_steps_whose_answer_is_lost_had_been_made(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_id = rows.one()
    worker, lease = Worker(sessions), rows.claim_one()
    first, second = (one.chosen(None) for one in worker.executor._pipeline.steps)
    committer = worker.executor._committer
    riders = committer.riders()
    after, _ = committer.wait(first, lease, {}, riders)
    commit = worker.writes.commit

    def lost(*asked: Any) -> None:
        assert commit(*asked)
        raise OperationalError("lost", None, Exception())

    monkeypatch.setattr(worker.writes, "commit", lost)
    committed, _ = committer.commit(second, after, {}, riders)

    assert (committed.step, rows.row(row_id).step) == ("second", "second")
    assert applied(sessions) == {(row_id, "first"): 1, (row_id, "second"): 1}


def test_what_a_write_answers_is_asked_while_it_waits(rows: Rows, sessions: Sessions) -> None:
    rows.one()
    worker = Worker(sessions, first=effect("first", answer=STATUS))

    worker.run(rows.claim_one())

    assert [answered.status for answered in worker.carried] == ["working"]


def test_what_a_write_answers_behind_a_commit_is_of_the_row_as_it_is_then(
    rows: Rows, sessions: Sessions
) -> None:
    writes = Worker(sessions).writes
    rows.one()
    lease = rows.claim_one()

    assert writes.commit(lease, effect("first", answer=STATUS)).status == "halfway"
    assert writes.commit(lease, effect("first", answer=STATUS))  # it had been: that is the answer
    assert list(applied(sessions).values()) == [1]
    assert writes.ask(lease, effect("first", answer=STATUS)) is None
    assert writes.ask(leases.advanced(lease), effect("first", answer=STATUS)).status == "halfway"


def test_two_writes_are_one_in_which_the_later_columns_count() -> None:
    both = together([FIRST, SECOND])

    assert both.statements == (*FIRST.statements, *SECOND.statements)
    assert both.values == {**FIRST.values, **SECOND.values}
    assert both.columns == (("payload", ":word_second"),)


def test_a_later_step_cannot_change_what_an_earlier_ones_statement_says() -> None:
    with pytest.raises(RuntimeError, match="times_first"):
        together([FIRST, effect("first", "2")])
