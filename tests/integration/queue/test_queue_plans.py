"""What a statement touches grows with its batch, not with the table."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from backend.db import Base, make_engine, table_of
from backend.queue import control, gauges, leases, overview, reaper
from backend.queue.claimable import Claimable, Fair, Partitioned
from backend.queue.doctor import CHECKS, Limits, examine
from backend.queue.explain import explain
from backend.queue.leases import Lease, Marks
from backend.queue.lifecycle import Queue, Stage
from backend.queue.situation import COUNTED
from tests.conftest import CreateDatabase
from tests.integration.queue.conftest import PROBES
from tests.integration.queue.ledger import MOMENT, horizons
from tests.integration.queue.probe_workload import PARCEL

# Filling the deep database takes eight seconds of a processor that does nothing else.
pytestmark = pytest.mark.timeout(400)

PLAIN: Final = Queue(
    name="plain",
    table="depot",
    ready="waiting",
    stages=(Stage("first", "working", leaves="halfway"), Stage("second", "finishing")),
    done="finished",
    failed="broken",
)
PARTED: Final = Queue(
    name="parted",
    table="depot",
    ready="sorted",
    stages=(Stage("load", "loading"),),
    done="finished",
    failed="broken",
    partitions=("north", "south"),
)
FAIR: Final = Queue(
    name="fair",
    table="depot",
    ready="shared",
    stages=(Stage("hand", "handing"),),
    done="finished",
    failed="broken",
    partitions=("north", "south"),
    fair=True,
)


class Depot(Partitioned, Fair, Claimable, Base):
    """One table that carries a queue of each shape."""

    __tablename__ = "depot"
    __queues__ = (PLAIN, PARTED, FAIR)
    __fillfactor__ = 85


MILLION: Final = 1_000_000
FEW: Final = 200
COLUMNS: Final = "status, queue, fairness_key, priority, available_at, completed_at"
WAITING: Final = f"""
INSERT INTO depot ({COLUMNS})
    SELECT 'finished', 'north', '', 5, now(), now() FROM generate_series(1, {MILLION});
INSERT INTO depot ({COLUMNS})
    SELECT 'waiting', 'north', '', 1 + n % 10, now() - n * interval '1 second', NULL
    FROM generate_series(1, {MILLION}) n;
INSERT INTO depot ({COLUMNS})
    SELECT 'sorted', CASE n % 3 WHEN 0 THEN 'north' ELSE 'south' END, '', 1 + n % 10,
           now() - n * interval '1 second', NULL
    FROM generate_series(1, {MILLION // 10}) n;
INSERT INTO depot ({COLUMNS})
    SELECT 'shared', 'north', 'key ' || n % 20, 5, now() - n * interval '1 second', NULL
    FROM generate_series(1, {MILLION // 10}) n;
"""
HELD: Final = f"""
INSERT INTO depot (queue, status, lease_token, leased_by, lease_expires_at, heartbeat_at,
                   progressed_at)
    SELECT 'north', 'working', gen_random_uuid(), 'w', now() + interval '1 hour', now(), now()
    FROM generate_series(1, {FEW});
INSERT INTO depot (queue, status, stalls)
    SELECT 'north', 'waiting', 2 FROM generate_series(1, {FEW});
INSERT INTO depot (queue, status, failure, failed_from, completed_at)
    SELECT 'north', 'broken', 'permanent', 'waiting', now() FROM generate_series(1, {FEW});
"""
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def deep(create_database: CreateDatabase, migrated: str) -> Iterator[Engine]:
    """A database with a million finished and a million waiting rows, and some of each other kind.

    Filled first, indexed afterwards, and never written to a log: seconds instead of a minute.
    """
    depot = table_of(Depot)
    with create_database(migrated) as url:
        Base.metadata.create_all(create_engine(url, poolclass=NullPool), tables=PROBES)
        engine = make_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(CreateTable(depot))
            connection.execute(text("ALTER TABLE depot SET UNLOGGED"))
            connection.execute(text("ALTER TABLE depot DROP CONSTRAINT pk_depot"))
            connection.execute(text(WAITING))
            connection.execute(text(HELD))
            connection.execute(text("SET maintenance_work_mem = '256MB'"))
            connection.execute(text("ALTER TABLE depot ADD CONSTRAINT pk_depot PRIMARY KEY (id)"))
            for index in depot.indexes:
                index.create(connection)
            connection.execute(text("VACUUM ANALYZE depot"))
        yield engine
        engine.dispose()


def plans(engine: Engine, work: Callable[[Session], Any]) -> list[Plan]:
    """The executed plan of each statement of ``work``; nothing is kept."""
    sent: list[tuple[str, Any]] = []

    def capture(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "WITH")):
            sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", capture)
    try:
        with Session(engine) as session:
            work(session)
            session.rollback()
    finally:
        event.remove(engine, "before_cursor_execute", capture)
    found = []
    for statement, parameters in sent:
        with engine.connect() as connection:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            answer = connection.exec_driver_sql(explain, parameters).scalar_one()
            plan = answer if isinstance(answer, list) else json.loads(answer)
            found.append(plan[0]["Plan"])
            connection.rollback()
    return found


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def buffers(plan: Plan) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def assert_in_proportion(found: list[Plan], batch: int) -> None:
    assert found
    for plan in found:
        for node in nodes(plan):
            if node.get("Relation Name") in ("depot", "parcel"):
                assert node["Node Type"] != "Seq Scan", node
                rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                    "Actual Loops"
                ]
                assert rows <= 3 * batch + 40, node
        # A row written: its page, its index entries, its history; a constant apiece.
        assert buffers(plan) <= 60 * batch + 400, (buffers(plan), plan["Node Type"])


def held(engine: Engine, count: int) -> list[Lease]:
    statement = text("SELECT id, lease_token FROM depot WHERE status = 'working' LIMIT :n")
    with engine.connect() as connection:
        found = connection.execute(statement, {"n": count}).all()
        some = connection.execute(text("SELECT now()")).scalar_one()
    return [
        Lease(PLAIN, row.id, row.lease_token, "working", None, 5, some, 1, 4, 0) for row in found
    ]


def ids_of(engine: Engine, status: str, count: int) -> list[int]:
    statement = text("SELECT id FROM depot WHERE status = :status ORDER BY id DESC LIMIT :n")
    with engine.connect() as connection:
        return list(connection.scalars(statement, {"status": status, "n": count}))


@pytest.mark.parametrize("batch", [1, 10, 100])
def test_a_claim_touches_rows_in_proportion_to_its_batch(deep: Engine, batch: int) -> None:
    def claim(session: Session) -> None:
        assert len(leases.claim(session, PLAIN, worker="w", limit=batch)) == batch

    assert_in_proportion(plans(deep, claim), batch)


def test_a_claim_with_marks_touches_no_more(deep: Engine) -> None:
    marks = Marks()
    with Session(deep) as session:
        leases.claim(session, PLAIN, worker="w", limit=50, marks=marks)
        session.rollback()

    assert_in_proportion(
        plans(deep, lambda s: leases.claim(s, PLAIN, worker="w", limit=10, marks=marks)), 10
    )


@pytest.mark.parametrize("partitions", [["north"], ["north", "south"]])
def test_a_claim_from_partitions_touches_rows_in_proportion_to_its_batch(
    deep: Engine, partitions: list[str]
) -> None:
    def claim(session: Session) -> None:
        claimed = leases.claim(session, PARTED, worker="w", limit=10, partitions=partitions)
        assert len(claimed) == 10

    assert_in_proportion(plans(deep, claim), 10)


def test_a_fair_claim_touches_rows_in_proportion_to_its_batch_and_keys(deep: Engine) -> None:
    def claim(session: Session) -> None:
        assert leases.claim(session, FAIR, worker="w", limit=10, partitions=["north"])

    assert_in_proportion(plans(deep, claim), 40)


def test_a_claim_of_a_suspect_touches_one_row(deep: Engine) -> None:
    def claim(session: Session) -> None:
        assert leases.claim_suspect(session, PLAIN, worker="w")

    assert_in_proportion(plans(deep, claim), 1)


def test_an_adoption_looks_at_held_rows_only(deep: Engine) -> None:
    (mine,) = held(deep, 1)

    def adopt(session: Session) -> None:
        assert [lease.id for lease in leases.adopt(session, PLAIN, mine.token)] == [mine.id]

    assert_in_proportion(plans(deep, adopt), FEW)


@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("how", ["heartbeat", "still mine", "settle", "release"])
def test_what_a_worker_says_of_its_leases_touches_rows_in_proportion_to_their_number(
    deep: Engine, batch: int, how: str
) -> None:
    mine = held(deep, batch)
    stale = [replace(lease, token=uuid4()) for lease in mine]
    acts: dict[str, Callable[[Session], set[int]]] = {
        "heartbeat": lambda s: leases.heartbeat(s, PLAIN, mine),
        "still mine": lambda s: leases.heartbeat(s, PLAIN, stale) ^ {x.id for x in mine},
        "settle": lambda s: leases.settle(s, PLAIN, [leases.done(lease) for lease in mine]),
        "release": lambda s: leases.release(s, PLAIN, mine),
    }

    def act(session: Session) -> None:
        assert acts[how](session) == set()

    found = plans(deep, act)

    assert len(found) == (2 if how == "still mine" else 1)
    assert_in_proportion(found, batch)


def test_a_commit_and_a_report_of_progress_touch_one_row(deep: Engine) -> None:
    (mine,) = held(deep, 1)

    assert_in_proportion(plans(deep, lambda s: leases.progress(s, mine, "working")), 1)
    assert_in_proportion(plans(deep, lambda s: leases.commit(s, mine)), 1)


def test_a_reap_looks_at_held_rows_only(deep: Engine) -> None:
    def reap(session: Session) -> None:
        limits = horizons(PLAIN, timedelta(hours=1))
        assert reaper.reap(session, PLAIN, horizons=limits, ttl=MOMENT) == []

    assert_in_proportion(plans(deep, reap), FEW)


def test_a_look_for_stalled_rows_and_suspects_looks_at_those_only(deep: Engine) -> None:
    def look(session: Session) -> None:
        limits = {queue: horizons(queue, timedelta(hours=1)) for queue in (PLAIN, PARTED)}
        looked = reaper.look(session, limits, dict.fromkeys(limits), ttl=MOMENT)
        assert looked == reaper.Looked(set(), {PLAIN.name}, {PLAIN.name})

    assert_in_proportion(plans(deep, look), FEW)


def test_a_look_for_what_waits_touches_one_row_of_each_lane(deep: Engine) -> None:
    served = dict.fromkeys((PLAIN, PARTED, FAIR))

    def look(session: Session) -> None:
        looked = reaper.look(session, {}, served, waiting=True)
        assert {queue for queue, wait in looked.waits.items() if wait is not None and wait < 0} == {
            queue.name for queue in served
        }

    assert_in_proportion(plans(deep, look), 20)


def test_a_reap_takes_back_rows_in_proportion_to_their_number(deep: Engine) -> None:
    def reap(session: Session) -> None:
        limits = horizons(PLAIN, timedelta())
        assert len(reaper.reap(session, PLAIN, horizons=limits, ttl=MOMENT)) == FEW

    assert_in_proportion(plans(deep, reap), FEW)


@pytest.mark.parametrize("batch", [1, 50])
def test_what_a_person_does_to_rows_touches_as_many_as_were_named(deep: Engine, batch: int) -> None:
    waiting, broken = (ids_of(deep, status, batch) for status in ("waiting", "broken"))

    def cancel(session: Session) -> None:
        assert len(control.cancel(session, PLAIN, waiting, why="x")) == batch

    def requeue(session: Session) -> None:
        assert len(control.requeue(session, PLAIN, broken)) == batch

    assert_in_proportion(plans(deep, cancel), batch)
    assert_in_proportion(plans(deep, requeue), batch)


@pytest.mark.parametrize("queue", [PLAIN, PARTED, FAIR], ids=lambda queue: queue.name)
def test_a_look_for_suspects_or_for_the_next_due_row_touches_next_to_nothing(
    deep: Engine, queue: Queue
) -> None:
    assert_in_proportion(plans(deep, lambda s: leases.suspects_wait(s, {queue: None})), 1)
    assert_in_proportion(plans(deep, lambda s: leases.next_due(s, queue)), 10)


def test_counting_a_queue_never_reads_its_finished_rows(deep: Engine) -> None:
    # Undone claims of the tests before left pages that an index-only scan must look at.
    with deep.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM depot"))
    for plan in plans(deep, lambda session: overview.depth(session, PLAIN)):
        assert not [n for n in nodes(plan) if n["Node Type"] == "Seq Scan"], plan


def test_counts_for_metrics_look_at_the_rows_they_count_only(deep: Engine) -> None:
    for number in (gauges.holding, gauges.suspects, gauges.dead):
        assert_in_proportion(plans(deep, partial(number, queue=PLAIN)), FEW)


def test_a_count_of_a_queue_is_right(deep: Engine) -> None:
    first = MILLION + 1
    with Session(deep) as session:
        session.execute(
            text("UPDATE depot SET available_at = now() + interval '1 h' WHERE id = :id"),
            {"id": first},
        )
        found = overview.depth(session, PLAIN)
        session.rollback()

    assert (found.ready, found.later, found.held) == (MILLION + FEW - 1, 1, FEW)
    assert MILLION - 1 < found.oldest_wait_seconds < MILLION + 1000


def test_heartbeats_stay_hot_updates(deep: Engine) -> None:
    """An index that names a column a heartbeat writes would bring this to zero."""
    counters = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'depot'"
    )
    with deep.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = connection.execute(counters).one()
        mine = held(deep, FEW)
        for _ in range(20):
            with Session(deep) as session, session.begin():
                assert leases.heartbeat(session, PLAIN, mine) == set()
                session.execute(text("SELECT pg_stat_force_next_flush()"))
        deep.dispose()
        after = connection.execute(counters).one()

    updated = after.n_tup_upd - before.n_tup_upd
    assert updated >= 20 * FEW
    assert (after.n_tup_hot_upd - before.n_tup_hot_upd) / updated > 0.8


def test_with_marks_a_claim_does_not_walk_over_what_ended_while_an_old_transaction_pins_it(
    deep: Engine,
) -> None:
    gone, marks = 10_000, Marks()

    def claim(marks: Marks | None) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            assert len(leases.claim(session, PARCEL, worker="w", limit=10, marks=marks)) == 10

        return work

    # Old rows beside young ones, so that the walk shows in the pages it visits.
    fill = text(
        "INSERT INTO parcel (status, available_at) SELECT 'packed',"
        " now() - n * 7919 % 20011 * interval '1 second' FROM generate_series(1, :n) n"
    )
    with deep.begin() as connection:
        connection.execute(fill, {"n": 2 * gone})
        connection.execute(text("ANALYZE parcel"))
    with deep.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.execute(text("SELECT count(*) FROM parcel"))
        with Session(deep) as session, session.begin():
            ended = leases.claim(session, PARCEL, worker="w", limit=gone, marks=marks)
            leases.settle(session, PARCEL, [leases.done(lease) for lease in ended])

        (from_the_front,) = plans(deep, claim(None))
        from_the_marks = plans(deep, claim(marks))

    assert gone < buffers(from_the_front) < 2 * gone  # each dead row is passed once
    assert_in_proportion(from_the_marks, 10)


def touched(plan: Plan) -> int:
    """Rows of large tables that were read, kept or not; none of them was read whole."""
    rows = 0
    for node in nodes(plan):
        if node.get("Relation Name") == "depot" or "Index" in node["Node Type"]:
            assert node["Node Type"] != "Seq Scan", node
            removed = node.get("Rows Removed by Filter", 0)
            rows += (node["Actual Rows"] + removed) * node["Actual Loops"]
    return rows


@pytest.mark.parametrize(
    ("queue", "newest", "oldest"),
    [
        (PLAIN, MILLION + 1, 2 * MILLION),
        (PARTED, 2 * MILLION + 1, 2 * MILLION + MILLION // 10),
        (FAIR, 2 * MILLION + MILLION // 10 + 1, 2 * MILLION + MILLION // 5),
    ],
    ids=["plain", "parted", "fair"],
)
def test_an_explanation_counts_a_bounded_number_of_rows(
    deep: Engine, queue: Queue, newest: int, oldest: int
) -> None:
    for row_id in (1, newest, oldest):
        found = plans(deep, partial(explain, queue=queue, row_id=row_id))
        assert found
        for plan in found:
            assert touched(plan) <= 2 * (COUNTED + 1) + 100, plan


def test_an_examination_looks_at_the_ends_of_large_tables_only(deep: Engine) -> None:
    limits = Limits(rows=1000, lines=1000)
    queues = (PLAIN, PARTED, FAIR)
    found = plans(deep, partial(examine, queues=queues, limits=limits))

    assert len(found) > len(CHECKS)
    for plan in found:
        assert touched(plan) <= 3 * limits.rows + 2 * FEW + 100, plan
