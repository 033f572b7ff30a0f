"""Reaping: what stalled workers hold comes back once, and only the guilty are quarantined."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, text, update

from backend.db import Sessions, make_sessions
from backend.queue import fleet, leases, reaper, sql
from backend.queue.fleet import Worker
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Done, Pipeline, Step
from tests.integration.queue.ledger import HOUR, MOMENT, Rows, ago, horizons
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE, PUBLISH
from workers.assignment import Assignment, this_worker
from workers.database import Transactions
from workers.metrics import Metrics
from workers.reaping import Reaper

MINUTE = timedelta(minutes=1)


def test_an_expired_lease_makes_its_row_ready_with_the_attempt_handed_back(rows: Rows) -> None:
    row_id = rows.one(attempts=1)
    lease = rows.claim_one(worker="dead")
    rows.expire(row_id)

    (reaped,) = rows.reap()

    row, (line,) = rows.row(row_id), rows.history()
    assert (reaped.id, reaped.status, reaped.failure, reaped.held_by) == (
        row_id, "waiting", None, "dead",
    )  # fmt: skip
    assert (row.status, row.attempts, row.stalls, row.lease_token) == ("waiting", 1, 1, None)
    assert (line.outcome, line.worker, line.token) == ("stalled", "dead", lease.token)
    assert rows.reap() == []
    assert rows.claim_one().id == row_id


def test_a_living_lease_is_not_reaped_and_heartbeats_keep_it(
    rows: Rows, sessions: Sessions
) -> None:
    rows.one()
    lease = rows.claim_one()
    assert rows.reap() == []

    rows.expire(lease.id)
    with sessions.begin() as session:
        leases.heartbeat(session, PROBE, [lease])
    assert rows.reap() == []


def test_a_row_without_progress_is_reaped_though_its_worker_beats(
    rows: Rows, sessions: Sessions
) -> None:
    hung, moving = rows.add(count=2)
    for lease in rows.claim():
        rows.change(lease.id, progressed_at=ago("2 hours" if lease.id == hung else "30 minutes"))
        with sessions.begin() as session:
            leases.heartbeat(session, PROBE, [lease])

    assert [row.id for row in rows.reap(longest=timedelta(hours=1))] == [hung]
    assert rows.row(moving).status == "working"


def test_each_status_has_its_own_horizon(rows: Rows, sessions: Sessions) -> None:
    working, finishing = rows.one(), rows.one(step="first")
    assert len(rows.claim()) == 2
    for row_id in (working, finishing):
        rows.change(row_id, progressed_at=ago("10 minutes"))

    with sessions.begin() as session:
        limits = {"working": timedelta(minutes=5), "finishing": timedelta(minutes=15)}
        reaped = reaper.reap(session, PROBE, horizons=limits, ttl=MOMENT)

    assert [row.id for row in reaped] == [working]


def test_nothing_is_reaped_within_one_lease_time_of_the_servers_start(rows: Rows) -> None:
    row_id = rows.one()
    rows.claim()
    rows.expire(row_id)

    assert rows.reap(ttl=timedelta(days=1)) == []
    assert [row.id for row in rows.reap()] == [row_id]


def test_the_third_stall_of_a_row_the_last_one_alone_is_poison(rows: Rows) -> None:
    row_id = rows.one()
    for stalls in (1, 2):
        rows.claim()
        rows.expire(row_id)
        rows.reap()
        assert rows.row(row_id).stalls == stalls
    assert rows.claim() == []
    assert rows.claim_suspect() is not None
    rows.expire(row_id)

    (reaped,) = rows.reap()

    row = rows.row(row_id)
    assert (reaped.status, reaped.failure) == ("broken", "poison")
    assert (row.status, row.failure, row.failed_from) == ("broken", "poison", "waiting")
    assert rows.outcomes() == ["stalled"] * 3
    assert rows.history()[-1].failure == "poison"
    assert rows.claim_suspect() is None


def test_the_neighbours_of_a_dead_worker_are_not_poison(rows: Rows) -> None:
    rows.add(count=5)
    for _ in range(2):
        rows.expire(*(lease.id for lease in rows.claim()))
        assert {row.failure for row in rows.reap()} == {None}
    while (suspect := rows.claim_suspect()) is not None:
        rows.settle(leases.done(suspect))

    assert set(rows.statuses().values()) == {"finished"}


def test_a_reap_of_one_queue_leaves_the_other_queue_of_its_table_alone(rows: Rows) -> None:
    rows.one(PUBLISH)
    lease = rows.claim_one(PUBLISH)
    rows.expire(lease.id)

    assert rows.reap(PROBE) == []
    (reaped,) = rows.reap(PUBLISH)
    assert (reaped.id, reaped.status) == (lease.id, "approved")


def test_a_row_that_somebody_has_locked_is_not_waited_for(rows: Rows, sessions: Sessions) -> None:
    locked, free = rows.add(count=2)
    rows.claim()
    rows.expire(locked, free)
    with sessions.begin() as other, sessions.begin() as session:
        other.execute(text("SELECT 1 FROM probe WHERE id = :id FOR UPDATE"), {"id": locked})
        session.execute(text("SET LOCAL lock_timeout = '1ms'"))
        reaped = reaper.reap(session, PROBE, horizons=horizons(PROBE), ttl=MOMENT)

    assert [row.id for row in reaped] == [free]


def test_a_look_names_the_queues_in_which_a_reap_would_find_something(
    rows: Rows, sessions: Sessions
) -> None:
    limits = {queue: horizons(queue) for queue in (PROBE, PUBLISH, ERRAND, PARCEL)}

    def look() -> set[str]:
        with sessions.begin() as session:
            return reaper.look(session, limits, {}, ttl=MOMENT).stalled

    stalled, moving = rows.one(PUBLISH), rows.one(PARCEL)
    assert (len(rows.claim(PUBLISH)), len(rows.claim(PARCEL))) == (1, 1)
    assert look() == set()
    rows.expire(stalled, queue=PUBLISH)
    rows.change(moving, PARCEL, progressed_at=ago("2 hours"))
    assert look() == {PUBLISH.name, PARCEL.name}

    rows.reap(PUBLISH)
    assert look() == {PARCEL.name}


def test_one_queues_locked_table_does_not_keep_another_from_being_reaped(
    rows: Rows, engine: Engine, sessions: Sessions
) -> None:
    row_id = rows.one()
    rows.claim()
    rows.expire(row_id)
    limited = make_sessions(engine, limit=timedelta(milliseconds=500))
    beats(sessions)
    contact(sessions, since="1 hour", last="-1 hour")  # whatever this machine is busy with
    reaping = Reaper(
        [Assignment(Pipeline(queue=q, steps=steps_of(q))) for q in (PARCEL, PROBE)],
        worker="judge", transactions=Transactions(limited, threading.Event()),
        stall_timeout=HOUR, ttl=MOMENT, interval=HOUR,
        became_ready=lambda _queue: None, attend=lambda _queues: None,
        expect=lambda _queue, _wait: None,
        metrics=Metrics([PARCEL.name, PROBE.name], version="1"),
    )  # fmt: skip
    with sessions.begin() as other:
        other.execute(text("LOCK TABLE parcel"))
        reaping._reap_all()

    assert rows.row(row_id).stalls == 1


def steps_of(queue: Queue) -> tuple[Step, ...]:
    return tuple(Step(stage.name, lambda _row, _tools: Done({})) for stage in queue.stages)


def test_a_second_reaper_of_a_table_does_not_work_beside_the_first(
    rows: Rows, sessions: Sessions
) -> None:
    added = rows.add(count=2)
    rows.claim()
    rows.expire(*added)
    with sessions.begin() as first, sessions.begin() as second:
        one = reaper.reap(first, PROBE, horizons=horizons(PROBE), ttl=MOMENT, limit=1)
        assert len(one) == 1  # the other row is not even locked
        assert reaper.reap(second, PROBE, horizons=horizons(PROBE), ttl=MOMENT) == []


def test_two_reapers_without_their_lock_reap_each_row_once(rows: Rows, sessions: Sessions) -> None:
    added = rows.add(count=60)
    rows.claim()
    rows.expire(*added)
    start = threading.Barrier(4)
    params = {
        "horizons_status": list(PROBE.held), "horizons_longest": [HOUR] * len(PROBE.held),
        "ttl": MOMENT, "limit": 20, "reaper": None, "late": MOMENT,
    }  # fmt: skip

    def reaps() -> list[int]:
        start.wait(10)
        taken: list[int] = []
        while True:
            with sessions.begin() as session:
                found = [row.id for row in session.execute(sql.reap(PROBE), params)]
            if not found:
                return taken
            taken += found

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(reaps) for _ in range(4)]
        taken = sorted(row_id for work in works for row_id in work.result(30))

    assert taken == added
    assert {rows.row(row_id).stalls for row_id in added} == {1}
    assert len(rows.history()) == len(added)


@pytest.mark.parametrize("limit", [1, 3])
def test_a_reap_takes_at_most_its_limit(rows: Rows, sessions: Sessions, limit: int) -> None:
    added = rows.add(count=5)
    rows.claim()
    rows.expire(*added)
    with sessions.begin() as session:
        reaped = reaper.reap(session, PROBE, horizons=horizons(PROBE), ttl=MOMENT, limit=limit)

    assert len(reaped) == limit


def test_a_beat_forgets_workers_long_gone_and_never_its_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(this_worker("gone", []))
    beats(sessions)
    contact(sessions, since="9 days", last="25 hours")
    beats(sessions)

    with sessions.begin() as session:
        assert [worker.name for worker in session.scalars(select(Worker))] == ["judge"]


def beats(sessions: Sessions, *, ttl: timedelta = MINUTE) -> None:
    me = Worker(
        name="judge", hostname="here", pid=1, version="1", queues=["probe"], held=0, draining=False
    )
    with sessions.begin() as session:
        fleet.beat(session, me, ttl=ttl)


def contact(sessions: Sessions, *, since: str, last: str) -> None:
    """Set when the judge's contact became steady, and when its last beat came."""
    with sessions.begin() as session:
        session.execute(update(Worker).values(steady_since=ago(since), heartbeat_at=ago(last)))


@pytest.mark.parametrize(
    ("since", "last", "may"),
    [
        ("2 minutes", "1 second", True),
        ("30 seconds", "1 second", False),
        ("2 minutes", "40 seconds", False),
    ],
    ids=["steady", "steady for less than a lease time", "its own last beat is late"],
)
def test_a_worker_judges_others_only_in_steady_contact(
    rows: Rows, sessions: Sessions, since: str, last: str, may: bool
) -> None:
    row_id = rows.one()
    rows.claim()
    rows.expire(row_id)
    beats(sessions)
    contact(sessions, since=since, last=last)
    limits = {"ttl": MINUTE, "late": fleet.late_after(MINUTE)}
    # Asked alone: no server of a test is up for a minute, which the statement wants as well.
    with sessions.begin() as session:
        judged = session.scalar(select(sql.may_judge()), {"reaper": "judge", **limits})
        strangers = session.scalar(select(sql.may_judge()), {"reaper": "nobody", **limits})
    assert judged is may
    assert strangers is False


def test_the_reaper_that_is_named_must_be_in_steady_contact(rows: Rows, sessions: Sessions) -> None:
    row_id = rows.one()
    rows.claim()
    rows.expire(row_id)
    with sessions.begin() as session:
        limits = horizons(PROBE)
        assert reaper.reap(session, PROBE, horizons=limits, ttl=MOMENT, worker="judge") == []
    assert rows.row(row_id).stalls == 0


def test_a_late_beat_starts_the_time_of_steady_contact_anew(rows: Rows, sessions: Sessions) -> None:
    beats(sessions)
    contact(sessions, since="1 hour", last="29 seconds")
    beats(sessions)
    with sessions.begin() as session:
        in_time = session.scalar(select(func.clock_timestamp() - Worker.steady_since))
    contact(sessions, since="1 hour", last="31 seconds")
    beats(sessions)
    with sessions.begin() as session:
        late = session.scalar(select(func.clock_timestamp() - Worker.steady_since))

    assert in_time is not None
    assert late is not None
    assert in_time > timedelta(minutes=59)
    assert late < timedelta(seconds=20)
