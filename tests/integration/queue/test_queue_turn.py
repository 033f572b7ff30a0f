"""The turn: one statement that settles and claims, prepared where it can be."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from backend.autocommit import Statement
from backend.db import make_engine
from backend.queue import leases
from backend.queue.claiming import Request
from backend.queue.compiled import array_literal
from backend.queue.lanes import Marks, fixed_lanes
from backend.queue.leases import Lease, Settlement
from backend.queue.lifecycle import Queue, Stage
from backend.queue.turn import NAME, Turned, Turns
from backend.queue.writes import Write, Writes
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PARCEL

TTL = timedelta(seconds=12)


class Told(Turns):
    """Turns that keep what they sent last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[str] = []
        self.parameters: Any = None

    def _rows(self, message: str, asked: Any) -> list[Any]:
        self.sent.append(message)
        self.parameters = asked
        return super()._rows(message, asked)

    def beside(self, statement: str, parameters: Any = None) -> list[Any]:
        """Somebody else's statement on the same connection; its rows."""
        assert self._link is not None
        with self._link.driver.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


class Worker:
    """Turns on connections that somebody may meddle with."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url, application_name="turns")
        self.turns = Told(self.engine, PARCEL, limit=timedelta(milliseconds=500))
        self.marks = Marks()

    def take(self, ended: Sequence[Settlement] = (), *, limit: int = 10) -> Turned:
        request = Request(
            queue=PARCEL, worker="w", limit=limit, ttl=TTL, token=uuid4(),
            lanes=fixed_lanes(PARCEL), marks=self.marks,
        )  # fmt: skip
        return self.turns.take(ended, request)


@pytest.fixture
def worker(database_url: str) -> Iterator[Worker]:
    worker = Worker(database_url)
    yield worker
    worker.turns.close()
    worker.engine.dispose()


def done(claimed: Sequence[Lease]) -> list[Settlement]:
    return [leases.done(lease) for lease in claimed]


def test_a_turn_settles_the_last_batch_and_claims_the_next_in_one_message(
    rows: Rows, worker: Worker
) -> None:
    rows.add(PARCEL, 20)
    first = worker.take().claimed
    worker.turns.sent.clear()

    turned = worker.take(done(first))

    assert len(worker.turns.sent) == 1
    assert turned.settled == {lease.id for lease in first}
    assert len(turned.claimed) == 10
    assert not turned.settled & {lease.id for lease in turned.claimed}
    assert rows.outcomes() == ["done"] * 10


def test_a_turn_that_claims_nothing_says_when_the_next_row_is_due(
    rows: Rows, worker: Worker
) -> None:
    rows.add(PARCEL, available_at=text("'infinity'"))
    assert worker.take().due is None
    later = datetime.now(UTC) + timedelta(minutes=5)
    rows.add(PARCEL, available_at=later)
    rows.add(PARCEL, available_at=later + timedelta(hours=1), priority=9)
    rows.add(PARCEL, available_at=later - timedelta(minutes=1), stalls=2)

    assert worker.take().due == pytest.approx(300, abs=20)
    assert worker.take(limit=0).due is None
    rows.add(PARCEL)
    assert worker.take().due is None


def test_a_turn_settles_nothing_of_a_lease_that_somebody_else_has(
    rows: Rows, worker: Worker
) -> None:
    row_id = rows.one(PARCEL)
    stale = worker.take().claimed
    rows.expire(row_id, queue=PARCEL)
    rows.reap(PARCEL)
    rows.change(row_id, PARCEL, available_at=text("now()"))
    fresh = rows.claim_one(PARCEL)

    assert worker.take(done(stale), limit=0).settled == frozenset()
    assert rows.row(row_id, PARCEL).lease_token == fresh.token


def test_a_turn_waits_for_no_row_that_somebody_has_locked(
    rows: Rows, worker: Worker, engine: Engine
) -> None:
    locked, free = rows.add(PARCEL, 2)
    claimed = worker.take().claimed
    with engine.begin() as somebody:
        somebody.execute(text(f"SELECT FROM parcel WHERE id = {locked} FOR UPDATE"))

        assert worker.take(done(claimed)).settled == {free}


@pytest.mark.parametrize("meddling", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_where_a_pooler_takes_what_was_prepared_away_the_turn_is_taken_all_the_same(
    rows: Rows, worker: Worker, meddling: str
) -> None:
    rows.add(PARCEL, 20)
    claimed = worker.take().claimed
    worker.turns.beside(meddling)

    for _ in range(3):
        turned = worker.take(done(claimed))
        assert len(turned.settled) == len(claimed)
        claimed = turned.claimed

    assert worker.turns.sent[-1].startswith(f"/* {NAME}")  # nothing is prepared any more
    assert rows.outcomes() == ["done"] * 20


def test_a_name_that_somebody_has_left_behind_a_pooler_is_no_obstacle(
    rows: Rows, worker: Worker
) -> None:
    """One connection of a pooler's serves two workers in turn."""
    rows.add(PARCEL, 3)
    with worker.engine.connect() as left:
        left.exec_driver_sql(worker.turns.preparation)
        left.commit()

    assert len(worker.take().claimed) == 3


def test_a_turn_that_cannot_get_its_table_gives_up_in_time_and_the_next_one_is_taken(
    rows: Rows, worker: Worker, engine: Engine
) -> None:
    rows.one(PARCEL)
    with engine.begin() as somebody:
        somebody.execute(text("LOCK TABLE parcel IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(OperationalError, match="statement timeout"):
            worker.take()

    assert len(worker.take().claimed) == 1


def test_a_plan_made_while_the_table_was_empty_goes_by_the_indexes(worker: Worker) -> None:
    worker.take()
    worker.take()

    explain = worker.turns.sent[-1].replace(f"EXECUTE {NAME}", f"EXPLAIN EXECUTE {NAME}")
    plan = "\n".join(line for (line,) in worker.turns.beside(explain, worker.turns.parameters))

    assert "Index Scan using ix_parcel_parcel_ready" in plan
    assert "Seq Scan on parcel" not in plan


def test_a_word_of_a_lifecycle_may_hold_any_sign(worker: Worker) -> None:
    """The driver takes a % for the place of a value."""
    odd = Queue(
        name="odd", table="parcel", ready="0% 'ready' %(x)s", done='100%% "\\"', failed="returned",
        stages=(Stage("inspect", "50 %s"),),
    )  # fmt: skip
    worker.turns = Told(worker.engine, odd, limit=TTL)
    assert worker.take().claimed == []

    lease = Lease(odd, 1, uuid4(), "50 %s", None, 5, datetime.now(UTC), 1, 3, 0)
    statement = Statement("SELECT 1 WHERE %(value)s::int = 1 AND '100%%' <> ''")
    for _ in range(2):
        writes = Writes(worker.engine, ttl=TTL)
        assert writes.settle(leases.done(lease), Write((statement,), {"value": 1}))


TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS, st.sampled_from(["NULL", "{", "}", ",", '"', "\\"]))))
def test_any_text_comes_through_an_array_literal_as_it_is(
    probe_database: str, words: list[str | None]
) -> None:
    engine = make_engine(probe_database)
    with engine.connect() as connection:
        literal = array_literal(words)
        assert connection.scalar(text("SELECT CAST(:a AS text[])"), {"a": literal}) == words
    engine.dispose()


WAIT_AT_FIRST = """
CREATE FUNCTION wait_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711);
    RETURN NEW;
END $$;
CREATE TRIGGER wait_at_first BEFORE UPDATE ON parcel FOR EACH ROW
    WHEN (NEW.status = 'delivered' AND NEW.priority = 9) EXECUTE FUNCTION wait_at_first();
"""
WAITS = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")


@pytest.fixture
def waiting_at_first(engine: Engine) -> Iterator[None]:
    """To settle a row of priority 9 waits for an advisory lock."""
    with engine.begin() as connection:
        connection.exec_driver_sql(WAIT_AT_FIRST)
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION wait_at_first CASCADE")


@pytest.mark.usefixtures("waiting_at_first")
def test_a_row_that_is_written_after_a_turn_has_begun_is_left_for_the_next_one(
    rows: Rows, worker: Worker, engine: Engine
) -> None:
    """Its newest version is locked, but not to be seen: nothing is said of it, nor in history."""
    worker.turns = Told(worker.engine, PARCEL, limit=timedelta(seconds=20))
    first, written = rows.one(PARCEL, priority=9), rows.one(PARCEL)
    claimed = worker.take().claimed
    waits, free = rows.add(PARCEL, 2)
    with engine.connect() as somebody, ThreadPoolExecutor(1) as beside:
        somebody.exec_driver_sql("SELECT pg_advisory_lock(4711)")
        turn = beside.submit(worker.take, done(claimed))
        eventually(lambda: somebody.scalar(WAITS))
        change = text("UPDATE parcel SET updated_at = now() WHERE id = ANY (:ids)")
        somebody.execute(change, {"ids": [written, waits]})
        somebody.commit()
        somebody.exec_driver_sql("SELECT pg_advisory_unlock(4711)")
        turned = turn.result()

    assert turned.settled == {first}
    assert [lease.id for lease in turned.claimed] == [free]
    assert rows.outcomes() == ["done"]
    turned = worker.take(
        [settlement for settlement in done(claimed) if settlement.lease.id == written]
    )
    assert turned.settled == {written}
    assert rows.outcomes(written) == ["done"]
