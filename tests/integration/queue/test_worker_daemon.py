"""The daemon, in this process, on a real database: whatever happens, each effect is there once."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from backend.db import Sessions, make_engine
from backend.queue import control
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Done, Pipeline, Reject, Rewind, Snooze, Step
from backend.queue.retry import Permanent, Transient
from backend.queue.turn import Turned, Turns
from backend.queue.wake import Notifier
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import PARCEL, PROBE, effects, save
from workers import producer, reaping
from workers.daemon import Assignment, Daemon, Policy
from workers.executor import Ended

TTL = timedelta(seconds=2)
SHORT = timedelta(milliseconds=50)
Run = Callable[..., Any]
Start = Callable[..., Daemon]


def finish(_row_id: int, _tools: None) -> Done:
    return Done({})


def two_stages(first: Run = finish, second: Run = finish, **more: Any) -> Pipeline:
    steps = (Step("first", first, save=save), Step("second", second, save=save))
    return Pipeline(queue=PROBE, steps=steps, load=lambda _session, row_id: row_id, **more)


def one_stage(run: Run = finish, **more: Any) -> Pipeline:
    more = {"save": save, "batch": 10, **more}
    step = Step("inspect", run, save=more.pop("save"))
    return Pipeline(queue=PARCEL, steps=(step,), load=lambda _session, row_id: row_id, **more)


@pytest.fixture
def worker_engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=20, application_name="worker under test")
    yield engine
    engine.dispose()


@pytest.fixture
def start(worker_engine: Engine) -> Iterator[Start]:
    """Starts daemons; they are drained at the end, and must be healthy until then."""
    started: list[Daemon] = []

    def start(*pipelines: Pipeline, **policy: Any) -> Daemon:
        policy = {"interval": timedelta(seconds=10), "ttl": TTL, "concurrency": 4, **policy}
        assignments = [Assignment(pipeline) for pipeline in pipelines]
        daemon = Daemon(worker_engine, worker_engine, assignments, Policy(**policy))
        daemon.start()
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        if not daemon._stop.is_set():
            assert daemon.healthy
            daemon.drain()


@pytest.fixture
def ledger(sessions: Sessions) -> Callable[[], dict[tuple[int, str], int]]:
    def read() -> dict[tuple[int, str], int]:
        with sessions.begin() as session:
            return effects(session)

    return read


Ledger = Callable[[], dict[tuple[int, str], int]]


def all_are(rows: Rows, status: str, queue: Queue = PROBE) -> Callable[[], bool]:
    return lambda: set(rows.statuses(queue).values()) == {status}


def exactly_once(added: list[int], stages: tuple[str, ...] = ("first", "second")) -> dict[Any, int]:
    return {(row_id, stage): 1 for row_id in added for stage in stages}


def test_every_row_goes_through_all_stages_and_each_effect_is_saved_once(
    rows: Rows, start: Start, ledger: Ledger
) -> None:
    added = rows.add(count=60)
    start(two_stages())

    eventually(all_are(rows, "finished"))
    assert ledger() == exactly_once(added)
    assert Counter(rows.outcomes()) == {"done": 60}


def test_a_transient_error_is_tried_again_and_resumes_at_its_stage(
    rows: Rows, start: Start, ledger: Ledger
) -> None:
    runs = Counter[str]()

    def first(_row_id: int, _tools: None) -> Done:
        runs["first"] += 1
        return Done({})

    def second(_row_id: int, _tools: None) -> Done:
        runs["second"] += 1
        if runs["second"] < 3:
            raise Transient("the mirror is busy")
        return Done({})

    row_id = rows.one()
    start(two_stages(first, second))

    eventually(all_are(rows, "finished"))
    assert runs == {"first": 1, "second": 3}
    assert rows.outcomes() == ["retry", "retry", "done"]
    assert ledger() == exactly_once([row_id])


def test_a_permanent_error_fails_its_row_and_no_other(rows: Rows, start: Start) -> None:
    bad, good = rows.add(count=2)

    def first(row_id: int, _tools: None) -> Done:
        if row_id == bad:
            raise Permanent("not a package \x00")
        return Done({})

    start(two_stages(first))

    eventually(lambda: rows.statuses() == {bad: "broken", good: "finished"})
    assert (rows.row(bad).failure, rows.row(bad).error) == ("permanent", "not a package")


def test_a_refusal_is_stored_with_its_evidence(rows: Rows, start: Start, ledger: Ledger) -> None:
    row_id = rows.one()
    start(two_stages(lambda _row_id, _tools: Reject("licence is blocked", {})))

    eventually(all_are(rows, "broken"))
    assert (rows.row(row_id).failure, rows.row(row_id).error) == ("policy", "licence is blocked")
    assert ledger() == {(row_id, "first"): 1}


def test_a_snoozed_row_comes_again_without_an_attempt_burnt(rows: Rows, start: Start) -> None:
    asked: list[int] = []

    def first(row_id: int, _tools: None) -> Done | Snooze:
        asked.append(row_id)
        return Done({}) if len(asked) > 5 else Snooze(timedelta(milliseconds=10), "not yet")

    rows.one(max_attempts=1)
    start(two_stages(first))

    eventually(all_are(rows, "finished"))
    assert rows.outcomes() == ["snoozed"] * 5 + ["done"]


def test_a_row_whose_inputs_are_gone_starts_again_from_the_first_stage(
    rows: Rows, start: Start
) -> None:
    runs: list[str] = []

    def first(_row_id: int, _tools: None) -> Done:
        runs.append("first")
        return Done({})

    def second(_row_id: int, _tools: None) -> Done | Rewind:
        runs.append("second")
        return Done({}) if len(runs) > 2 else Rewind("the file is on another host")

    rows.one()
    start(two_stages(first, second))

    eventually(all_are(rows, "finished"))
    assert runs == ["first", "second", "first", "second"]


@pytest.mark.parametrize("outcome", [Done({}), Reject("no", {})])
@pytest.mark.parametrize("unstorable", ["NULL in a key", "NUL in a text"])
def test_a_result_that_cannot_be_stored_ends_its_own_row_only(
    rows: Rows, start: Start, outcome: Done | Reject, unstorable: str
) -> None:
    bad, good = rows.add(PARCEL, count=2, max_attempts=2)

    def spoilt(session: Any, lease: Any, result: Any) -> None:
        if lease.id == bad:
            parameter = None if unstorable == "NULL in a key" else "\x00"
            statement = "INSERT INTO probe_effects VALUES (:queue, 1, 'x', 1)"
            session.execute(text(statement), {"queue": parameter})

    start(one_stage(lambda _row_id, _tools: outcome, save=spoilt))

    eventually(lambda: set(rows.statuses(PARCEL).values()) <= {"delivered", "returned"}, within=5)
    assert rows.row(bad, PARCEL).failure in ("permanent", "exhausted")
    assert "INSERT" not in rows.row(bad, PARCEL).error
    expected = "delivered" if isinstance(outcome, Done) else "returned"
    assert rows.row(good, PARCEL).status == expected


def test_a_row_cancelled_while_it_runs_saves_nothing(
    rows: Rows, start: Start, sessions: Sessions, ledger: Ledger
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def first(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(10)
        return Done({})

    row_id = rows.one()
    daemon = start(two_stages(first))
    assert running.wait(10)
    with sessions.begin() as session:
        control.cancel(session, PROBE, [row_id], why="enough")
    go_on.set()

    assert daemon._held.wait_empty(10)
    assert rows.row(row_id).failure == "cancelled"
    assert ledger() == {}
    assert rows.outcomes() == ["cancelled"]


def test_a_row_that_runs_longer_than_its_lease_is_kept_by_heartbeats(
    rows: Rows, start: Start, ledger: Ledger
) -> None:
    ends = threading.Event()

    def first(_row_id: int, _tools: None) -> Done:
        ends.wait(3 * 0.8)  # three lease times
        return Done({})

    row_id = rows.one()
    for _ in range(2):  # the second one's reaper must leave it alone
        start(two_stages(first), ttl=timedelta(seconds=0.8))

    eventually(all_are(rows, "finished"))
    assert rows.outcomes() == ["done"]
    assert ledger() == exactly_once([row_id])


def test_rows_of_a_dead_worker_are_taken_over(rows: Rows, start: Start, ledger: Ledger) -> None:
    added = rows.add(count=5)
    rows.claim(worker="dead", ttl=timedelta(milliseconds=1))
    began = time.monotonic()
    start(two_stages(), ttl=timedelta(seconds=1))

    eventually(all_are(rows, "finished"))
    assert time.monotonic() - began < 8
    assert ledger() == exactly_once(added)
    assert Counter(rows.outcomes()) == {"stalled": 5, "done": 5}


def test_a_worker_judges_others_only_after_one_lease_time_of_its_own(
    rows: Rows, start: Start, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "EVERY", 0.05)
    rows.one()
    rows.claim(worker="dead", ttl=timedelta(milliseconds=1))
    with engine.connect() as connection:
        started_at = connection.scalar(text("SELECT clock_timestamp()"))
    start(two_stages(), ttl=timedelta(seconds=1))

    eventually(lambda: "stalled" in rows.outcomes())
    assert rows.history()[0].ended_at - started_at >= timedelta(seconds=1)


def test_a_hint_makes_an_idle_worker_look_at_once(rows: Rows, start: Start, engine: Engine) -> None:
    start(two_stages(), interval=timedelta(seconds=60))
    listening = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    # One transaction sees one state of pg_stat_activity, however long it lasts.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        eventually(lambda: connection.scalar(listening))
    notifier = Notifier(engine)
    rows.one()
    notifier.ready("probe")

    eventually(all_are(rows, "finished"), within=5)
    notifier.close()


def test_a_row_that_finishes_between_two_looks_of_the_producer_frees_its_room_at_once(
    rows: Rows, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = producer.Producer._settle_and_claim

    def after_the_row(self: producer.Producer, ended: list[Ended], room: int) -> list[Lease]:
        # The moment between "is there room?" and "wait for room": let the running row end in it.
        eventually(lambda: self._crew.in_flight == 0, within=2)
        return looks(self, ended, room)

    monkeypatch.setattr(producer.Producer, "_settle_and_claim", after_the_row)
    rows.add(PARCEL, 4)
    start(one_stage(batch=1), concurrency=1, interval=timedelta(seconds=60))

    eventually(all_are(rows, "delivered", PARCEL), within=5)


@pytest.mark.parametrize("batch", [100, 20])
def test_slow_rows_behind_quick_ones_run_together(rows: Rows, start: Start, batch: int) -> None:
    """Quick rows are left to one thread; the others are woken once it is no longer quick."""
    quick = rows.add(PARCEL, 57)
    together = threading.Barrier(4)

    def run(lease: Lease, _tools: object) -> Done:
        if lease.id not in quick:
            together.wait(timeout=10)
        return Done()

    rows.add(PARCEL, 8)
    start(Pipeline(queue=PARCEL, steps=(Step("inspect", run),), batch=batch))

    eventually(all_are(rows, "delivered", PARCEL))
    assert Counter(rows.outcomes()) == {"done": 65}


def test_an_idle_worker_drains_at_once(rows: Rows, start: Start) -> None:
    rows.one()
    daemon = start(two_stages(), one_stage())
    eventually(all_are(rows, "finished"))
    began = time.monotonic()

    assert daemon.drain() == 0
    assert time.monotonic() - began < 2.5


def test_a_drain_releases_what_has_not_begun_and_finishes_what_runs(
    rows: Rows, start: Start, ledger: Ledger
) -> None:
    running, go_on = threading.Event(), threading.Event()
    begun: list[int] = []

    def inspect(row_id: int, _tools: None) -> Done:
        begun.append(row_id)
        running.set()
        assert go_on.wait(10)
        return Done({})

    added = rows.add(PARCEL, 5)
    daemon = start(one_stage(inspect), concurrency=1)
    assert running.wait(10)
    drained: list[int] = []
    draining = threading.Thread(target=lambda: drained.append(daemon.drain()))
    draining.start()
    waiting = set(added) - {begun[0]}
    eventually(lambda: {i for i, s in rows.statuses(PARCEL).items() if s == "packed"} == waiting)
    go_on.set()
    draining.join(10)

    assert drained == [0]
    assert len(begun) == 1
    assert rows.row(begun[0], PARCEL).status == "delivered"
    assert {rows.row(row_id, PARCEL).attempts for row_id in waiting} == {0}
    assert Counter(rows.outcomes()) == {"released": 4, "done": 1}
    assert ledger() == exactly_once(begun, ("inspect",))


def test_what_still_runs_at_the_end_of_the_grace_is_released_and_can_write_no_more(
    rows: Rows, start: Start, ledger: Ledger
) -> None:
    running, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def first(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(10)
        ended.set()
        return Done({})

    row_id = rows.one()
    daemon = start(two_stages(first), grace=timedelta(milliseconds=200))
    assert running.wait(10)

    assert daemon.drain() == 1
    assert (rows.row(row_id).status, rows.row(row_id).attempts) == ("waiting", 0)
    go_on.set()
    assert ended.wait(10)
    assert daemon._held.wait_empty(10)
    assert ledger() == {}
    assert rows.outcomes() == ["released"]


def test_losing_every_connection_again_and_again_loses_and_doubles_nothing(
    rows: Rows, start: Start, ledger: Ledger, engine: Engine
) -> None:
    added = rows.add(count=150)
    start(two_stages())
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'worker under test'"
    )
    for enough in (20, 80, 140, 200):
        eventually(partial(lambda least: len(ledger()) >= least, enough))
        with engine.connect() as connection:
            assert connection.scalar(kill)

    eventually(all_are(rows, "finished"), within=30)
    assert ledger() == exactly_once(added)
    assert all(rows.outcomes(row_id).count("done") == 1 for row_id in added)


def test_a_worker_that_hears_no_answer_to_every_third_commit_loses_and_doubles_nothing(
    rows: Rows,
    start: Start,
    ledger: Ledger,
    worker_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit, commits = worker_engine.dialect.do_commit, count(1)

    def deaf(connection: Any) -> None:
        commit(connection)
        if next(commits) % 3 == 0:
            raise psycopg2.OperationalError("the answer was lost")

    monkeypatch.setattr(worker_engine.dialect, "do_commit", deaf)
    added = rows.add(count=40)
    start(two_stages(batch=4))

    eventually(all_are(rows, "finished"), within=30)
    assert ledger() == exactly_once(added)
    # What a claim took without an answer was adopted, not left to the reaper.
    assert Counter(rows.outcomes()) == {"done": 40}


def test_a_worker_that_hears_no_answer_to_every_third_turn_loses_and_doubles_nothing(
    rows: Rows, start: Start, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, turns = Turns.take, count(1)

    def deaf(self: Turns, *what: Any, **how: Any) -> Turned:
        turned = take(self, *what, **how)
        if next(turns) % 3 == 0:
            self.close()
            raise OperationalError("turn", None, psycopg2.OperationalError("the answer was lost"))
        return turned

    monkeypatch.setattr(Turns, "take", deaf)
    added = rows.add(count=40)
    start(two_stages(batch=4))

    eventually(all_are(rows, "finished"), within=30)
    assert ledger() == exactly_once(added)
    # What a turn claimed without an answer was adopted, not left to the reaper.
    assert Counter(rows.outcomes()) == {"done": 40}


def test_a_worker_is_known_while_it_lives_and_gone_after_it_left(
    rows: Rows, start: Start, engine: Engine
) -> None:
    daemon = start(two_stages())
    known = text("SELECT queues FROM workers WHERE name = :name")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = eventually(lambda: connection.scalar(known, {"name": daemon.name}))
        assert found == ["probe"]
        daemon.drain()
        assert connection.scalar(known, {"name": daemon.name}) is None


def test_a_row_backing_off_is_looked_at_when_it_is_due(rows: Rows, start: Start) -> None:
    rows.one(available_at=ago("-1 second"))
    began = time.monotonic()
    start(two_stages(), interval=timedelta(seconds=60))

    eventually(all_are(rows, "finished"), within=4)
    assert time.monotonic() - began > 0.5


def test_a_worker_whose_threads_all_hang_for_lost_rows_is_not_healthy(
    rows: Rows, start: Start, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "HANGS", 0.0)
    go_on, added = threading.Event(), rows.add(PARCEL, 2)

    def hang(_row_id: int, _tools: None) -> Done:
        assert go_on.wait(20)
        return Done({})

    step = Step("inspect", hang, timeout=timedelta(milliseconds=1))
    pipeline = Pipeline(queue=PARCEL, steps=(step,), load=lambda _session, row_id: row_id)
    daemon = start(pipeline, concurrency=2)
    eventually(all_are(rows, "inspecting", PARCEL))
    assert daemon.healthy
    with sessions.begin() as session:
        control.cancel(session, PARCEL, added, why="enough")

    eventually(lambda: not daemon.healthy)
    go_on.set()
    eventually(lambda: daemon.healthy)
