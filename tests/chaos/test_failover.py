"""The primary dies for good, and its standby takes over."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from backend.db import make_engine, make_sessions
from backend.embedded.installation import Installation
from backend.settings import psycopg2_url
from tests.chaos.proxy import Proxy
from tests.chaos.stage import quiet_for
from tests.conftest import open_directory
from tests.failover.cluster import Node, installation, pair, until, url_of
from tests.failover.drill import Mode, Plan
from tests.failover.run import drill

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
LIMIT = timedelta(seconds=2)


@pytest.fixture
def found() -> Installation:
    found = installation()
    if found is None:
        pytest.skip("no PostgreSQL with pg_basebackup and pg_rewind here")
    return found


@pytest.mark.parametrize(("mode", "behind"), [("sync", 0.0), ("async", 1.0)])
def test_what_was_accepted_survives_its_primary_where_the_standby_had_it(
    found: Installation, mode: Mode, behind: float, tmp_path: Path
) -> None:
    plan = Plan(mode, rate=20, before=2, behind=behind, detect=1, after=2)

    report = drill(plan, found, tmp_path)

    assert report.broken == []
    assert report.ends["completed"] == report.accepted - report.lost > 20
    assert (report.lost > 0) == (mode == "async")
    assert report.seen["workers that listen at the new primary"] == 2
    if report.lost:  # it is told as it is
        assert report.lost_window < behind + 1
        assert report.seen["the status of a lost one is answered with"] == {404: report.lost}


@pytest.fixture
def cut_off(found: Installation) -> Iterator[tuple[Node, Node, Engine]]:
    """A primary whose synchronous standby hears nothing any more, and what leads to both."""
    with open_directory() as folder, pair(folder, found) as (one, two):
        one.create()
        with one.admin() as cursor:
            cursor.execute("CREATE TABLE notes (note text)")
        with Proxy(one.port) as link:
            two.follow(one, port=link.port)
            until(lambda: one.is_followed(two), "the standby does not follow")
            one.wait_for_whom(two.name)
            link.blackhole(3600)
            engine = make_engine(psycopg2_url(url_of(one, two)))
            yield one, two, engine
            engine.dispose()


def test_no_time_limit_turns_a_commit_that_the_standby_lacks_into_an_accepted_one(
    cut_off: tuple[Node, Node, Engine],
) -> None:
    one, two, engine = cut_off
    sessions, accepted = make_sessions(engine, limit=LIMIT), threading.Event()

    def commit() -> None:
        with suppress(SQLAlchemyError):
            with sessions.begin() as session:
                session.execute(text("INSERT INTO notes VALUES ('late')"))
            accepted.set()

    committing = threading.Thread(target=commit)
    committing.start()
    quiet_for(2 * LIMIT.total_seconds())
    assert committing.is_alive()
    assert one.ask("SELECT wait_event FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    one.kill()
    committing.join()
    two.promote()

    assert not accepted.is_set()
    assert two.ask("SELECT count(*) FROM notes") == 0
    with sessions.begin() as session:  # the same sessions, at the new primary
        session.execute(text("INSERT INTO notes VALUES ('on time')"))
    assert two.ask("SELECT note FROM notes") == "on time"
