"""Dead rows told apart by their error, and requeued in bulk: each at most once, never a verdict."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, literal, select, text
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import bulk, control, dead, leases
from backend.queue.dead import Selection
from backend.queue.lifecycle import FAILURES, PROCESSING_FAILURES, SUSPECT_STALLS
from backend.queue.retry import LeaseLost, Permanent
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND, PROBE, PUBLISH

REFUSED = "the connection for https://registry.example.test/left failed: ReadTimeout"


def fail(rows: Rows, count: int = 1, **values: Any) -> list[int]:
    """Dead rows of the probe queue."""
    values = {"error": "why", "failure": "exhausted", "completed_at": ago("1 hour"), **values}
    return rows.add(PROBE, count, status="broken", failed_from="waiting", **values)


def requeue(sessions: Sessions, selection: Selection = dead.ALL, **how: Any) -> bulk.Requeued:
    return bulk.requeue(sessions, PROBE, selection, **{"limit": 1000, **how})


@pytest.fixture
def fingerprint(sessions: Sessions) -> Callable[[str], str]:
    def ask(error: str) -> str:
        with sessions.begin() as session:
            found: str = session.scalars(select(dead.fingerprint(literal(error)))).one()
            return found

    return ask


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("timed out after 30 s", "timed out after 7 s"),
        ("read 1.5 of 20 MB", "read 12.25 of 3 MB"),
        ("no left@1.0.0", "no left@12.4.31"),
        ("lost 'a b'", "lost 'c'"),
        ('lost "a" at 0x1f', 'lost "b c" at 0xdeadBEEF'),
        ("lost `a`", "lost `it's`"),
        (
            "row 6ba7b810-9dad-11d1-80b4-00c04fd430c8 is gone",
            "row 886313e1-3b8a-5372-9b90-0c9aee199e5d is gone",
        ),
        ("got " + "0a1b" * 32, "got " + "ff0012" * 20),
        ("not sha512-aB/c+1D" + "x" * 80 + "==", "not sha512-//9+fe12" + "Y" * 80 + "="),
        ("last held by host-17-aaaaaaaa", "last held by host-4711-bbbbbbbb"),
        (REFUSED, REFUSED.replace("/left", "/@scope/right/-/right-1.0.0.tgz")),
        ("10.0.0.1:8080 is busy", "192.168.17.4:443 is busy"),
    ],
)
def test_errors_that_differ_from_row_to_row_have_one_fingerprint(
    fingerprint: Callable[[str], str], one: str, another: str
) -> None:
    assert fingerprint(one) == fingerprint(another)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("the name is unknown", "the name is wrong"),
        (REFUSED, REFUSED.replace("registry.example", "mirror.example")),
        (REFUSED, REFUSED.replace("ReadTimeout", "ConnectionReset")),
        ("it can't be read and isn't there", "it can't be read and isn't known"),
        ("", "why"),
    ],
)
def test_errors_of_two_causes_have_two_fingerprints(
    fingerprint: Callable[[str], str], one: str, another: str
) -> None:
    assert fingerprint(one) != fingerprint(another)


def test_a_fingerprint_is_made_by_immutable_functions_alone(engine: Engine) -> None:
    expression = dead.fingerprint(PROBE.rows.c.error).compile(
        engine, compile_kwargs={"literal_binds": True, "render_postcompile": True}
    )
    statement = str(expression).replace("%%", "%").replace("probe.error", "error")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE INDEX ON probe (({statement}))")
        connection.rollback()


def test_dead_rows_are_counted_by_fingerprint_with_an_example_and_their_times(
    rows: Rows, sessions: Sessions
) -> None:
    fail(rows, error="timed out after 1 s", failure="timeout", completed_at=ago("2 hours"))
    fail(rows, 2, error="timed out after 2 s", failure="exhausted")
    fail(rows, error=None)
    with sessions.begin() as session:
        found = dead.groups(session, PROBE)

    timed_out, silent = found.groups
    assert (found.count, found.complete) == (4, True)
    assert (timed_out.count, timed_out.example) == (3, "timed out after 2 s")
    assert timed_out.failures == ["exhausted", "timeout"]
    assert timed_out.newest - timed_out.oldest > timedelta(minutes=59)
    assert (silent.count, silent.example, silent.failures) == (1, None, ["exhausted"])


def test_what_a_policy_or_a_person_refused_or_another_queue_failed_is_not_dead(
    rows: Rows, sessions: Sessions
) -> None:
    by_failure = {failure: fail(rows, failure=failure)[0] for failure in FAILURES}
    rows.one(PUBLISH)
    rows.settle(leases.after_error(rows.claim_one(PUBLISH), Permanent("refused")))
    with sessions.begin() as session:
        found, _ = dead.rows(session, PROBE)
        elsewhere, _ = dead.rows(session, PUBLISH)

    assert {row.id for row in found} == {by_failure[failure] for failure in PROCESSING_FAILURES}
    assert [row.error for row in elsewhere] == ["refused"]


def test_dead_rows_are_paged_from_the_last_failure_to_the_first(
    rows: Rows, sessions: Sessions
) -> None:
    together = fail(rows, 3, completed_at=datetime(2026, 1, 1, tzinfo=UTC))
    later = fail(rows, completed_at=datetime(2026, 1, 2, tzinfo=UTC))
    pages, before = list[list[int]](), None
    with sessions.begin() as session:
        for _ in range(3):
            page, before = dead.rows(session, PROBE, before=before, limit=2)
            pages.append([row.id for row in page])

    assert pages == [[later[0], together[2]], [together[1], together[0]], []]
    assert before is None


def test_one_statement_looks_at_a_bounded_number_of_dead_rows(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "LOOKED_AT", 3)
    (oldest,) = fail(rows, error="rare", completed_at=ago("1 day"))
    fail(rows, 4, error="common")
    with sessions.begin() as session:
        groups = dead.groups(session, PROBE)
        rare = Selection(error_contains="rare")
        first, before = dead.rows(session, PROBE, rare)
        second, end = dead.rows(session, PROBE, rare, before=before)

    assert (groups.count, groups.complete) == (3, False)
    assert (first, [row.id for row in second], end) == ([], [oldest], None)


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [
        ({"failures": ("timeout",)}, {"b"}),
        ({"priority": 9}, {"c"}),
        ({"error_contains": "100%_"}, {"d"}),
        ({"failed_after": datetime(2026, 1, 2, tzinfo=UTC)}, {"b", "c", "d"}),
        ({"failed_before": datetime(2026, 1, 2, tzinfo=UTC)}, {"a"}),
        ({}, {"a", "b", "c", "d"}),
    ],
)
def test_a_selection_takes_what_it_describes(
    rows: Rows, sessions: Sessions, condition: dict[str, Any], chosen: set[str]
) -> None:
    known: dict[str, dict[str, Any]] = {
        "a": {"completed_at": datetime(2026, 1, 1, tzinfo=UTC)},
        "b": {"failure": "timeout"},
        "c": {"priority": 9},
        "d": {"error": "at 100%_ it broke"},
    }
    when = datetime(2026, 1, 2, tzinfo=UTC)
    ids = {name: fail(rows, **{"completed_at": when, **row})[0] for name, row in known.items()}

    requeued = requeue(sessions, Selection(**condition))

    assert requeued.ids == [ids[name] for name in sorted(chosen)]
    assert {ids[name] for name in chosen} == {
        i for i, s in rows.statuses().items() if s == "waiting"
    }


def test_a_selection_of_a_partition_leaves_the_others_alone(rows: Rows, sessions: Sessions) -> None:
    broken = {"status": "failed", "failed_from": "open", "failure": "timeout"}
    alpha, beta = (
        rows.one(ERRAND, queue=name, completed_at=ago("1 h"), **broken)
        for name in ("alpha", "beta")
    )
    done = bulk.requeue(sessions, ERRAND, Selection(partition="beta"), limit=10)

    assert done.ids == [beta]
    assert rows.statuses(ERRAND) == {alpha: "failed", beta: "open"}


def test_rows_that_failed_alike_are_requeued_together_and_no_other(
    rows: Rows, sessions: Sessions, fingerprint: Callable[[str], str]
) -> None:
    alike = fail(rows, error="row 1 broke") + fail(rows, error="row 2 broke")
    (other,) = fail(rows, error="row 3 is gone")

    done = requeue(sessions, Selection(fingerprint=fingerprint("row 77 broke")))

    assert (done.ids, done.more) == (alike, False)
    assert rows.row(other).status == "broken"


def test_a_bulk_requeue_never_takes_a_verdict_though_its_id_is_given(
    rows: Rows, sessions: Sessions
) -> None:
    by_failure = {failure: fail(rows, failure=failure)[0] for failure in FAILURES}

    done = requeue(sessions, Selection(ids=tuple(by_failure.values())))

    assert done.ids == [
        by_failure[failure] for failure in FAILURES if failure in PROCESSING_FAILURES
    ]


def test_a_bulk_requeue_goes_through_all_batches_and_notes_each_in_its_transaction(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 4)
    added = fail(rows, 10)
    noted: list[list[int]] = []

    def note(session: Session, ids: list[int]) -> None:
        assert session.in_transaction()
        noted.append(ids)

    done = requeue(sessions, note=note)

    assert done.ids == added
    assert noted == [added[:4], added[4:8], added[8:]]


def test_a_limit_ends_a_bulk_requeue_and_says_that_there_is_more(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 4)
    added = fail(rows, 10)

    first = requeue(sessions, limit=6)
    rest = requeue(sessions, Selection(failed_before=first.began), limit=6)

    assert (first.ids, first.more) == (added[:6], True)
    assert (rest.ids, rest.more) == (added[6:], False)


def test_a_row_that_fails_once_more_meanwhile_is_not_requeued_over_and_over(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 1)
    added = fail(rows, 3)

    def fails_again(_session: Session, ids: list[int]) -> None:
        # What the batch before made ready runs and fails, before this one is committed.
        for lease in rows.claim():
            rows.settle(leases.after_error(lease, Permanent("again")))

    done = requeue(sessions, note=fails_again)

    assert done.ids == added
    assert [rows.row(row_id).error for row_id in added] == ["again", "again", None]


def test_rows_requeued_to_run_alone_are_suspects(rows: Rows, sessions: Sessions) -> None:
    (row_id,) = fail(rows, failure="poison", stalls=3)

    assert requeue(sessions, Selection(ids=(row_id,)), alone=True).ids == [row_id]

    assert rows.row(row_id).stalls == SUSPECT_STALLS
    assert rows.claim() == []
    lease = rows.claim_suspect()
    assert lease is not None
    assert lease.suspect


def test_bulk_requeues_and_workers_at_once_requeue_each_failure_once_and_never_deadlock(
    rows: Rows, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 30)
    added = fail(rows, 300)
    shuffled = added[1::2] + added[0::2]
    start = Barrier(5)

    def in_bulk(_number: int) -> list[int]:
        start.wait()
        return requeue(sessions).ids

    def by_ids() -> list[int]:
        start.wait()
        with sessions.begin() as session:
            return control.requeue(session, PROBE, shuffled)

    def work() -> None:
        start.wait()
        for _ in range(20):
            for lease in rows.claim(limit=20):  # a deadlock anywhere here would raise
                rows.settle(leases.after_error(lease, Permanent("again")))

    with ThreadPoolExecutor(5) as pool:
        requeueing = [pool.submit(in_bulk, 1), pool.submit(in_bulk, 2), pool.submit(by_ids)]
        working = [pool.submit(work) for _ in range(2)]
        taken = Counter(row_id for one in requeueing for row_id in one.result(timeout=60))
        for one in working:
            one.result(timeout=60)

    for row_id in added:
        # Ready again as often as it was requeued: each time it ran, it failed, or it waits now.
        waits = rows.row(row_id).status == "waiting"
        assert len(rows.outcomes(row_id)) + waits == taken[row_id]
    assert set(taken) == set(added)


def test_a_bulk_requeue_looks_at_dead_rows_through_their_index(
    rows: Rows, sessions: Sessions
) -> None:
    fail(rows, 50)
    with sessions.begin() as session:
        session.execute(
            text("INSERT INTO probe (status, completed_at)"
                 " SELECT 'finished', now() FROM generate_series(1, 3000)")
        )  # fmt: skip
    with sessions.begin() as session:
        session.execute(text("ANALYZE probe"))
        statements = [
            select(PROBE.rows.c.id).where(dead.where(PROBE, dead.ALL)),
            bulk._page(PROBE, dead.ALL, None),
        ]
        for statement in statements:
            compiled = statement.compile(
                session.get_bind(),
                compile_kwargs={"literal_binds": True, "render_postcompile": True},
            )
            plan = session.execute(text("EXPLAIN " + str(compiled).replace(":", "\\:")))
            assert "ix_probe_probe_dead" in "\n".join(line for (line,) in plan)


def test_a_cancel_is_refused_while_a_row_runs_what_cannot_be_taken_back(
    rows: Rows, sessions: Sessions
) -> None:
    waiting, running = rows.add(PUBLISH, 2)
    rows.change(waiting, PUBLISH, available_at=ago("-1 hour"))
    lease = rows.claim_one(PUBLISH)
    assert lease.id == running

    with sessions.begin() as session:
        assert control.cancel(session, PUBLISH, [waiting, running], why="stop") == [waiting]

    assert rows.row(running, PUBLISH).status == "publishing"
    assert rows.settle(leases.done(lease)) == set()


def test_a_cancelled_row_may_be_released_by_its_worker_no_more(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    lease = rows.claim_one()
    with sessions.begin() as session:
        control.cancel(session, PROBE, [row_id], why="stop")

    assert rows.settle(leases.released(lease)) == {row_id}
    with pytest.raises(LeaseLost), sessions.begin() as session:
        leases.progress(session, lease, "working")
