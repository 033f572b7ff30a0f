"""History in weeks: made ahead, dropped by age, and never in a settlement's way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from backend.db import Sessions
from backend.queue import retention
from backend.queue.retention import Maintained, Week, maintain
from tests.integration.queue.ledger import eventually
from workers.daemon import Daemon, Policy
from workers.database import Transactions
from workers.retention import EVERY, MORE, Retention

DAY = timedelta(days=1)
EVER = timedelta(days=36500)
WEDNESDAY = datetime(2051, 3, 15, 12, tzinfo=UTC)
THREE_WEEKS = ("attempts_2051_w11", "attempts_2051_w12", "attempts_2051_w13")


def partitions(session: Session) -> set[str]:
    return set(session.scalars(retention._PARTITIONS))


def this_and_coming(session: Session) -> set[str]:
    now = session.scalars(text("SELECT now()")).one()
    return {Week.of(now + timedelta(weeks=ahead)).partition for ahead in range(3)}


def write_line(session: Session, ended_at: datetime) -> str:
    """One line of history; answers the partition that took it."""
    line = text(
        "INSERT INTO attempts (queue, row_id, attempt, outcome, ended_at)"
        " VALUES ('q', 1, 1, 'done', :at) RETURNING tableoid::regclass::text"
    )
    return str(session.scalars(line, {"at": ended_at}).one())


def make_weeks(sessions: Sessions, now: datetime, keep: timedelta = EVER) -> Maintained:
    with sessions.begin() as session:
        return maintain(session, now, keep=keep)


def worker_of(sessions: Sessions, keep: timedelta = EVER) -> Retention:
    return Retention(transactions=Transactions(sessions, threading.Event()), keep=keep)


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_SHORT_WAITS", text("SET LOCAL lock_timeout = '10ms'"))


def test_a_migrated_database_has_partitions_of_this_and_the_next_two_weeks(
    sessions: Sessions,
) -> None:
    with sessions() as session:
        assert partitions(session) == {*this_and_coming(session), "attempts_default"}


def test_this_and_the_next_two_weeks_are_made_once(sessions: Sessions) -> None:
    assert make_weeks(sessions, WEDNESDAY) == Maintained(created=THREE_WEEKS)

    assert make_weeks(sessions, WEDNESDAY) == Maintained()
    assert make_weeks(sessions, WEDNESDAY + 7 * DAY) == Maintained(created=("attempts_2051_w14",))


def test_a_line_lies_in_the_week_in_which_its_attempt_ended(sessions: Sessions) -> None:
    make_weeks(sessions, WEDNESDAY)
    monday = Week.of(WEDNESDAY).ends
    with sessions.begin() as session:
        assert write_line(session, monday - timedelta(microseconds=1)) == "attempts_2051_w11"
        assert write_line(session, monday) == "attempts_2051_w12"
        assert write_line(session, monday + 70 * DAY) == "attempts_default"


def test_a_partition_is_dropped_once_its_last_line_is_older_than_what_is_kept(
    sessions: Sessions,
) -> None:
    make_weeks(sessions, WEDNESDAY)
    due = Week.of(WEDNESDAY).ends + 30 * DAY
    with sessions.begin() as session:
        write_line(session, WEDNESDAY)

    early = make_weeks(sessions, due - timedelta(microseconds=1), keep=30 * DAY)
    on_time = make_weeks(sessions, due, keep=30 * DAY)

    assert "attempts_2051_w11" not in early.dropped
    assert on_time.dropped == ("attempts_2051_w11",)
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM attempts")) == 0
        assert "attempts_2051_w12" in partitions(session)


def test_attempts_go_on_ending_while_a_partition_is_made(
    sessions: Sessions, no_patience: None
) -> None:
    with sessions.begin() as session:
        now = session.scalars(text("SELECT now()")).one()
        write_line(session, now)

        assert make_weeks(sessions, WEDNESDAY).created == THREE_WEEKS


def test_what_cannot_be_dropped_now_is_left_and_the_coming_weeks_are_made_all_the_same(
    sessions: Sessions, no_patience: None
) -> None:
    make_weeks(sessions, WEDNESDAY)
    later = WEDNESDAY + 365 * DAY
    with sessions.begin() as session:
        write_line(session, WEDNESDAY)
        done = make_weeks(sessions, later, keep=DAY)

        assert len(done.created) == 3
        assert set(THREE_WEEKS) <= set(done.blocked)
        assert done.dropped == ()

    assert set(THREE_WEEKS) <= set(make_weeks(sessions, later, keep=DAY).dropped)


def test_workers_that_do_it_at_once_make_each_partition_once(sessions: Sessions) -> None:
    together = threading.Barrier(4)

    def work(_: int) -> Maintained:
        together.wait(10)
        return make_weeks(sessions, WEDNESDAY)

    with ThreadPoolExecutor(4) as workers:
        created = [done.created for done in workers.map(work, range(4))]

    assert sorted(created) == [(), (), (), THREE_WEEKS]


def test_while_one_worker_is_at_it_another_does_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert maintain(session, WEDNESDAY, keep=EVER).created == THREE_WEEKS
        assert make_weeks(sessions, WEDNESDAY) == Maintained()


def test_lines_without_a_partition_stay_where_they_are_and_block_their_own_week_alone(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        assert write_line(session, WEDNESDAY) == "attempts_default"

    done = make_weeks(sessions, WEDNESDAY)

    assert done == Maintained(created=THREE_WEEKS[1:], blocked=THREE_WEEKS[:1])
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM attempts")) == 1


def test_lines_without_a_partition_are_deleted_by_age_some_at_a_time(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("backend.queue.retention", "workers.retention"):
        monkeypatch.setattr(f"{module}.STRAYS_AT_ONCE", 2)
    with sessions.begin() as session:
        now = session.scalars(text("SELECT now()")).one()
        for days in (200, 100, 91, 80):
            assert write_line(session, now - days * DAY) == "attempts_default"
    worker = worker_of(sessions, keep=90 * DAY)

    assert [worker.turn(), worker.turn()] == [MORE, EVERY]

    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM attempts")) == 1


def test_a_role_that_may_make_no_tables_is_told_once_and_loses_no_line(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        (this, *_) = sorted(this_and_coming(session))
        session.execute(text(f"DROP TABLE {this}"))
        session.execute(text("REVOKE CREATE ON SCHEMA public FROM public, pg_database_owner"))
    worker = worker_of(sessions)

    with capture_logs() as logs:
        assert [worker.turn(), worker.turn()] == [EVERY, EVERY]
    with sessions.begin() as session:
        taken_by = write_line(session, session.scalars(text("SELECT now()")).one())

    assert [line["error"] for line in logs] == ["InsufficientPrivilege"]
    assert taken_by == "attempts_default"


def test_a_lock_that_is_not_to_be_had_undoes_the_turn_and_is_tried_again(
    sessions: Sessions, no_patience: None
) -> None:
    with sessions.begin() as session:
        session.execute(text("LOCK TABLE attempts_default"))

        with pytest.raises(OperationalError, match="lock timeout"):
            make_weeks(sessions, WEDNESDAY)

    assert make_weeks(sessions, WEDNESDAY).created == THREE_WEEKS


def test_a_worker_makes_the_partitions_when_it_starts(engine: Engine, sessions: Sessions) -> None:
    with sessions.begin() as session:
        wanted = this_and_coming(session)
        for partition in wanted:
            session.execute(text(f"DROP TABLE {partition}"))
    daemon = Daemon(engine, engine, [], Policy())
    daemon.start()
    try:
        with sessions() as session:
            eventually(lambda: wanted <= partitions(session))
    finally:
        daemon.drain()
