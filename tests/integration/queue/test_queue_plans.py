"""What a statement touches grows with its batch, not with the table."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.orm import Session

from backend.db import Base, make_engine
from backend.queue import leases, overview, reaper, reasons
from backend.queue.explain import explain
from backend.queue.leases import Marks
from tests.conftest import CreateDatabase
from tests.integration.queue.conftest import PROBES
from tests.integration.queue.ledger import MOMENT, horizons
from tests.integration.queue.probe_workload import ERRAND, PROBE

FILL = """
INSERT INTO probe (status, completed_at)
    SELECT 'finished', now() FROM generate_series(1, 100000);
INSERT INTO probe (status, priority, available_at)
    SELECT 'waiting', 1 + n % 10, now() - interval '1 second' * n
    FROM generate_series(1, 100000) n;
INSERT INTO probe (status, lease_token, leased_by, lease_expires_at, heartbeat_at, progressed_at)
    SELECT 'working', gen_random_uuid(), 'w', now() + interval '1 hour', now(), now()
    FROM generate_series(1, 200);
INSERT INTO errand (status, queue, fairness_key, priority, completed_at)
    SELECT 'closed', 'alpha', 'key ' || n % 20, 5, now() FROM generate_series(1, 30000) n;
INSERT INTO errand (status, queue, fairness_key, priority)
    SELECT 'open', 'alpha', 'key ' || n % 20, 5 FROM generate_series(1, 30000) n;
"""
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def deep(create_database: CreateDatabase, migrated: str) -> Iterator[Engine]:
    """A database with 100,000 finished and 100,000 waiting rows."""
    with create_database(migrated) as url:
        Base.metadata.create_all(create_engine(url, poolclass=NullPool), tables=PROBES)
        engine = make_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(FILL))
            connection.execute(text("VACUUM ANALYZE"))
        yield engine
        engine.dispose()


def plans(engine: Engine, work: Callable[[Session], Any]) -> list[Plan]:
    """The executed plan of each statement of ``work``; nothing is kept."""
    sent: list[tuple[str, Any]] = []

    def capture(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
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


def assert_in_proportion(found: list[Plan], batch: int) -> None:
    assert found
    for plan in found:
        for node in nodes(plan):
            if node.get("Relation Name") in ("probe", "errand"):
                assert node["Node Type"] != "Seq Scan", node
                rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                    "Actual Loops"
                ]
                assert rows <= 3 * batch + 40, node
        # A row written: its page, its index entries, its history; a constant apiece.
        buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert buffers <= 60 * batch + 400, (buffers, plan["Node Type"])


def held(engine: Engine, count: int) -> list[leases.Lease]:
    statement = text("SELECT id, lease_token FROM probe WHERE status = 'working' LIMIT :n")
    with engine.connect() as connection:
        found = connection.execute(statement, {"n": count}).all()
        some = connection.execute(text("SELECT now()")).scalar_one()
    return [
        leases.Lease(PROBE, row.id, row.lease_token, "working", None, 5, some, 1, 4, 0)
        for row in found
    ]


@pytest.mark.parametrize("batch", [1, 10, 100])
def test_a_claim_touches_rows_in_proportion_to_its_batch(deep: Engine, batch: int) -> None:
    def claim(session: Session) -> None:
        assert len(leases.claim(session, PROBE, worker="w", limit=batch)) == batch

    assert_in_proportion(plans(deep, claim), batch)


def test_a_claim_with_marks_touches_no_more(deep: Engine) -> None:
    marks = Marks()
    with Session(deep) as session:
        leases.claim(session, PROBE, worker="w", limit=50, marks=marks)
        session.rollback()

    assert_in_proportion(
        plans(deep, lambda s: leases.claim(s, PROBE, worker="w", limit=10, marks=marks)), 10
    )


def test_a_fair_claim_touches_rows_in_proportion_to_its_batch_and_keys(deep: Engine) -> None:
    def claim(session: Session) -> None:
        assert leases.claim(session, ERRAND, worker="w", limit=10, partitions=["alpha"])

    assert_in_proportion(plans(deep, claim), 40)


@pytest.mark.parametrize("batch", [1, 50])
def test_heartbeat_settle_and_reap_touch_rows_in_proportion_to_their_batch(
    deep: Engine, batch: int
) -> None:
    mine = held(deep, batch)

    def beat(session: Session) -> None:
        assert leases.heartbeat(session, PROBE, mine) == set()

    def settle(session: Session) -> None:
        assert leases.settle(session, PROBE, [leases.done(lease) for lease in mine]) == set()

    assert_in_proportion(plans(deep, beat), batch)
    assert_in_proportion(plans(deep, settle), batch)


def test_a_reap_looks_at_held_rows_only(deep: Engine) -> None:
    def reap(session: Session) -> None:
        limits = horizons(PROBE, timedelta(hours=1))
        assert reaper.reap(session, PROBE, horizons=limits, ttl=MOMENT) == []

    assert_in_proportion(plans(deep, reap), 200)


def test_a_look_for_suspects_or_for_the_next_due_row_touches_next_to_nothing(deep: Engine) -> None:
    assert_in_proportion(plans(deep, lambda s: leases.suspect_waits(s, PROBE)), 1)
    assert_in_proportion(plans(deep, lambda s: leases.next_due(s, PROBE)), 1)


def test_counting_a_queue_never_reads_its_finished_rows(deep: Engine) -> None:
    # Undone claims of the tests before left pages that an index-only scan must look at.
    with deep.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM probe"))
    for plan in plans(deep, lambda session: overview.depth(session, PROBE)):
        assert not [n for n in nodes(plan) if n["Node Type"] == "Seq Scan"], plan


def test_a_count_of_a_queue_is_right(deep: Engine) -> None:
    with Session(deep) as session:
        session.execute(text("UPDATE probe SET stalls = 2 WHERE id IN (100001, 100002)"))
        session.execute(
            text("UPDATE probe SET available_at = now() + interval '1 h' WHERE id = 100003")
        )
        found = overview.depth(session, PROBE)
        session.rollback()

    assert (found.ready, found.later, found.held) == (99_999, 1, 200)
    assert 99_000 < found.oldest_wait_seconds < 200_000


def test_heartbeats_stay_hot_updates(deep: Engine) -> None:
    """An index that names a column a heartbeat writes would bring this to zero."""
    counters = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'probe'"
    )
    with deep.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = connection.execute(counters).one()
        mine = held(deep, 200)
        for _ in range(20):
            with Session(deep) as session, session.begin():
                assert leases.heartbeat(session, PROBE, mine) == set()
                session.execute(text("SELECT pg_stat_force_next_flush()"))
        deep.dispose()
        after = connection.execute(counters).one()

    updated = after.n_tup_upd - before.n_tup_upd
    assert updated >= 4000
    assert (after.n_tup_hot_upd - before.n_tup_hot_upd) / updated > 0.8


@pytest.mark.parametrize("row_id", [100_001, 150_000, 200_000, 200_001])
def test_an_explanation_counts_a_bounded_number_of_rows(deep: Engine, row_id: int) -> None:
    for plan in plans(deep, lambda session: explain(session, PROBE, row_id)):
        touched = 0
        for node in nodes(plan):
            if node.get("Relation Name") in ("probe", "attempts"):
                assert node["Node Type"] != "Seq Scan", node
                removed = node.get("Rows Removed by Filter", 0)
                touched += (node["Actual Rows"] + removed) * node["Actual Loops"]
        assert touched <= 2 * (reasons.COUNTED + 1) + 40, plan
