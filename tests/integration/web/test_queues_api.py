"""The queue endpoints on a synthetic workload; with a worker that runs where one is needed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, NullPool, create_engine, text
from werkzeug.test import TestResponse

from backend.audit import reading
from backend.db import Base, Sessions
from backend.identity.roles import Role
from backend.queue import fleet, leases
from backend.queue.pipeline import Done, Pipeline, Step
from backend.queue.retry import Permanent
from backend.queue.wake import Notifier
from backend.web.app import create_app
from backend.web.queues import Work
from tests.audit_guards import EMPTY
from tests.callers import Caller, make_settings
from tests.conftest import CreateDatabase
from tests.integration.packages.house import People
from tests.integration.queue.conftest import PROBES, SHARED, empty
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import ERRAND, PROBE, PUBLISH
from workers.daemon import Assignment, Daemon, Policy

UNKNOWN = 2**63 - 1


@pytest.fixture(scope="module")
def probe_database(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    with create_database(migrated) as url:
        Base.metadata.create_all(create_engine(url, poolclass=NullPool), tables=PROBES)
        yield url


@pytest.fixture
def database_url(probe_database: str) -> str:
    empty(probe_database, PROBES + SHARED)
    emptying = create_engine(probe_database, poolclass=NullPool)
    with emptying.begin() as connection:
        connection.execute(text(EMPTY))
    return probe_database


@pytest.fixture
def rows(sessions: Sessions) -> Rows:
    return Rows(sessions)


@pytest.fixture
def owners() -> dict[int, int]:
    """Whose a row is: user by row; nobody's where it is not in here."""
    return {}


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def app(sessions: Sessions, owners: dict[int, int], woken: list[str]) -> Flask:
    work = Work(
        queues=(PROBE, PUBLISH, ERRAND),
        owned=lambda _session, _queue, row_id, user_id: owners.get(row_id) == user_id,
    )
    return create_app(make_settings(), sessions, work=work, ready=woken.append)


@pytest.fixture
def people(app: Flask, client: FlaskClient, sessions: Sessions) -> People:
    return People(app, client, sessions)


@pytest.fixture
def admin(people: People) -> Caller:
    return people.admin


def told(answer: TestResponse, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.get_json()


def fail(rows: Rows, count: int = 1, **values: Any) -> list[int]:
    values = {"error": "why", "failure": "exhausted", "completed_at": ago("1 hour"), **values}
    return rows.add(PROBE, count, status="broken", failed_from="waiting", **values)


def audited(sessions: Sessions) -> list[tuple[str, str, str]]:
    with sessions.begin() as session:
        rows = reading.entries(session, reading.Filters(), before=None, limit=100)
        return [(row.actor, row.action, row.subject) for row in reversed(rows)]


def test_every_queue_is_listed_with_its_depth_its_wait_its_pauses_and_its_workers(
    rows: Rows, admin: Caller, sessions: Sessions
) -> None:
    rows.add(count=2, available_at=ago("90 seconds"))
    rows.one(available_at=ago("-1 hour"))
    rows.one(status="approved")
    rows.claim(PUBLISH)
    with sessions.begin() as session:
        for name, queues in (("one", ["probe", "errand"]), ("two", ["errand"])):
            session.add(fleet.Worker(name=name, hostname="h", pid=1, version="1", queues=queues))
    told(admin("POST", "/api/queues/errand/pause", json={"partition": "beta", "reason": "moving"}))

    listed = {one["queue"]: one for one in told(admin("GET", "/api/queues"))["queues"]}

    assert list(listed) == ["probe", "probe_publish", "errand"]
    waited = listed["probe"]["depth"].pop("oldest_wait_seconds")
    assert 90 <= waited < 200
    assert listed["probe"]["depth"] == {"ready": 2, "later": 1, "held": 0}
    assert listed["probe_publish"]["depth"]["held"] == 1
    assert [one["workers"] for one in listed.values()] == [1, 0, 2]
    (pause,) = listed["errand"]["paused"]
    assert (pause["partition"], pause["paused_by"], pause["reason"]) == ("beta", "root", "moving")


def test_one_queue_is_told_with_its_partitions_and_recent_outcomes(
    rows: Rows, admin: Caller
) -> None:
    rows.add(ERRAND, 2, queue="alpha")
    rows.one(ERRAND, queue="beta", available_at=ago("-1 hour"))
    rows.settle(*(leases.done(lease) for lease in rows.claim(ERRAND, limit=1)))
    rows.claim(ERRAND, limit=1)

    detail = told(admin("GET", "/api/queues/errand"))

    alpha, beta = detail["partitions"]
    assert (alpha["name"], alpha["ready"], alpha["later"], alpha["held"]) == ("alpha", 0, 0, 1)
    assert (beta["name"], beta["ready"], beta["later"], beta["held"]) == ("beta", 0, 1, 0)
    assert detail["recent_outcomes"] == {"done": 1}
    assert "withdrawn" in detail["statuses"]
    assert told(admin("GET", "/api/queues/probe"))["partitions"] == []


def test_workers_are_told_alive_or_silent_by_the_databases_clock(
    admin: Caller, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        for name in ("alive", "silent"):
            session.add(
                fleet.Worker(name=name, hostname="h", pid=7, version="1.2", queues=["probe"])
            )
        session.flush()
        silent = "UPDATE workers SET heartbeat_at = now() - interval '1 min' WHERE name = 'silent'"
        session.execute(text(silent))

    alive, silent_one = told(admin("GET", "/api/workers"))["workers"]

    assert (alive["name"], alive["alive"], alive["version"]) == ("alive", True, "1.2")
    assert alive["heartbeat_age_seconds"] < 15
    assert (silent_one["alive"], silent_one["heartbeat_age_seconds"] >= 60) == (False, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("GET", "/dead"), ("GET", "/1/explain"), ("GET", "/1/attempts"),
        ("POST", "/pause"), ("POST", "/resume"), ("POST", "/requeue"), ("POST", "/1/cancel"),
    ],
)  # fmt: skip
def test_an_unknown_queue_is_not_found(admin: Caller, method: str, path: str) -> None:
    body = {"json": {"ids": [1]}} if path == "/requeue" else {}
    problem = told(admin(method, f"/api/queues/nonsense{path}", **body), 404)
    assert problem["error"].startswith('There is no queue "nonsense"; there are: ')


def test_an_unknown_queues_name_cannot_control_a_terminal(admin: Caller) -> None:
    problem = told(admin("GET", "/api/queues/x%0d%0a%1b[31m"), 404)

    assert problem["error"].isprintable()


def test_a_body_that_is_no_object_is_said_to_be_none(admin: Caller) -> None:
    problem = told(admin("POST", "/api/queues/probe/pause", json=[]), 400)

    assert problem["error"] == "body: Input should be a JSON object."


@pytest.mark.parametrize("act", ["GET explain", "GET attempts", "POST cancel"])
def test_an_unknown_row_is_not_found_and_a_bad_id_is_malformed(admin: Caller, act: str) -> None:
    method, what = act.split()

    assert told(admin(method, f"/api/queues/probe/{UNKNOWN}/{what}"), 404)["code"] == "not-found"
    for bad in ("x", "0", "-1", "1" * 30):
        assert told(admin(method, f"/api/queues/probe/{bad}/{what}"), 400)["code"] == "invalid"


def test_a_row_says_why_it_waits_and_what_became_of_its_attempts_newest_first(
    rows: Rows, admin: Caller
) -> None:
    row_id = rows.one()
    for _ in range(3):
        rows.settle(leases.released(rows.claim_one()))

    explained = told(admin("GET", f"/api/queues/probe/{row_id}/explain"))
    first = told(admin("GET", f"/api/queues/probe/{row_id}/attempts?limit=2"))
    second = told(admin("GET", f"/api/queues/probe/{row_id}/attempts?before={first['next']}"))

    assert (explained["queue"], explained["id"], explained["status"]) == (
        "probe",
        row_id,
        "waiting",
    )
    assert explained["sentence"]
    ids = [line["id"] for line in (*first["attempts"], *second["attempts"])]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3
    assert second["next"] is None
    assert first["attempts"][0]["outcome"] == "released"


def test_an_owner_sees_own_rows_and_others_do_not_find_them(
    rows: Rows, people: People, owners: dict[int, int]
) -> None:
    row_id = rows.one()
    owners[row_id] = people.user.id
    for what in ("explain", "attempts"):
        path = f"/api/queues/probe/{row_id}/{what}"
        told(people.user("GET", path))
        told(people.approver("GET", path))
        assert (
            told(people.other("GET", path), 404)["error"] == f"There is no row {row_id} in probe."
        )


def test_approvers_read_and_admins_alone_act(rows: Rows, people: People) -> None:
    row_id = rows.one()
    reads = ["/api/queues", "/api/queues/probe", "/api/queues/probe/dead", "/api/workers"]
    acts = ["pause", "resume", "requeue", f"{row_id}/cancel"]

    assert {people.user("GET", path).status_code for path in reads} == {403}
    assert {people.approver("GET", path).status_code for path in reads} == {200}
    for caller in (people.user, people.approver):
        answers = [caller("POST", f"/api/queues/probe/{act}", json={}) for act in acts]
        assert {answer.status_code for answer in answers} == {403}
    assert rows.row(row_id).status == "waiting"


def test_dead_rows_are_grouped_and_the_rows_of_a_group_are_paged(rows: Rows, admin: Caller) -> None:
    alike = fail(rows, 3, error="row 17 broke")
    fail(rows, error="gone", failure="permanent")
    fail(rows, error="refused", failure="policy")

    groups = told(admin("GET", "/api/queues/probe/dead"))
    fingerprint = groups["groups"][0]["fingerprint"]
    path = f"/api/queues/probe/dead?limit=2&fingerprint={fingerprint}"
    first = told(admin("GET", path))
    second = told(admin("GET", f"{path}&before={first['next']}"))

    assert (groups["count"], groups["complete"], groups["rows"]) == (4, True, [])
    assert [(g["count"], g["example"], g["failures"]) for g in groups["groups"]] == [
        (3, "row 17 broke", ["exhausted"]),
        (1, "gone", ["permanent"]),
    ]
    assert [row["id"] for row in (*first["rows"], *second["rows"])] == alike[::-1]
    assert second["next"] is None
    assert first["groups"] == groups["groups"][:1]


@pytest.mark.parametrize(
    "query", ["fingerprint=x", "before=1", "before=1.x", f"before={'9' * 17}.1", "limit=0"]
)
def test_a_bad_page_of_dead_rows_is_malformed(admin: Caller, query: str) -> None:
    told(admin("GET", f"/api/queues/probe/dead?{query}"), 400)


def test_a_preview_counts_and_shows_and_changes_nothing(
    rows: Rows, admin: Caller, sessions: Sessions, woken: list[str]
) -> None:
    fail(rows, 30, error="row 17 broke")
    fail(rows, error="refused", failure="policy")
    before = [rows.row(row_id) for row_id in rows.statuses()]

    seen = told(admin("POST", "/api/queues/probe/requeue", json={"filter": {}, "preview": True}))

    assert (seen["count"], seen["requeued"], seen["preview"]) == (30, 0, True)
    assert [group["count"] for group in seen["groups"]] == [30]
    assert len(seen["sample"]) == 20
    assert [rows.row(row_id) for row_id in rows.statuses()] == before
    assert (woken, audited(sessions)) == ([], [])


def test_a_requeue_does_what_its_preview_said_tells_the_workers_and_is_audited(
    rows: Rows, admin: Caller, sessions: Sessions, woken: list[str]
) -> None:
    alike = fail(rows, 3, error="row 17 broke", failure="timeout")
    (other,) = fail(rows, error="gone", failure="permanent")
    wish: dict[str, Any] = {"filter": {"failure": "timeout", "error_contains": "row"}}
    seen = told(admin("POST", "/api/queues/probe/requeue", json={**wish, "preview": True}))

    done = told(admin("POST", "/api/queues/probe/requeue", json=wish))

    assert done["requeued"] == seen["count"] == 3
    assert done["more"] is False
    assert {rows.row(row_id).status for row_id in alike} == {"waiting"}
    assert rows.row(other).status == "broken"
    assert woken == ["probe"]
    assert audited(sessions) == [("root", "queue.requeued", "queue:probe")]


def test_ids_that_cannot_be_requeued_are_named_and_left_alone(rows: Rows, admin: Caller) -> None:
    (dead,) = fail(rows)
    (refused,) = fail(rows, failure="human")
    waiting = rows.one()
    ids = [dead, refused, waiting, UNKNOWN]

    done = told(admin("POST", "/api/queues/probe/requeue", json={"ids": ids}))

    assert (done["requeued"], done["left"]) == (1, [refused, waiting, UNKNOWN])
    assert rows.row(refused).status == "broken"


def test_a_group_is_requeued_to_run_alone(rows: Rows, admin: Caller) -> None:
    (row_id,) = fail(rows, failure="poison", stalls=3)
    (group,) = told(admin("GET", "/api/queues/probe/dead"))["groups"]
    wish = {"fingerprint": group["fingerprint"], "alone": True}

    assert told(admin("POST", "/api/queues/probe/requeue", json=wish))["requeued"] == 1
    assert (rows.row(row_id).status, rows.row(row_id).stalls) == ("waiting", 2)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"preview": True}, {"ids": []}, {"ids": [0]}, {"ids": list(range(1, 1002))},
        {"filter": {"failure": "policy"}}, {"filter": {"status": "x"}}, {"fingerprint": "x"},
        {"filter": {"failed_before": "2026-01-01T00:00:00"}}, {"filter": {"partition": "alpha"}},
        {"filter": {}, "limit": 0},
    ],
)  # fmt: skip
def test_a_requeue_that_does_not_say_what_is_malformed(
    rows: Rows, admin: Caller, body: dict[str, Any]
) -> None:
    (row_id,) = fail(rows)
    told(admin("POST", "/api/queues/probe/requeue", json=body), 400)
    assert rows.row(row_id).status == "broken"


def test_a_pause_is_kept_as_it_was_first_made_and_ended_by_a_resume(
    admin: Caller, sessions: Sessions, woken: list[str]
) -> None:
    path = "/api/queues/errand"
    told(admin("POST", f"{path}/pause", json={"reason": "first"}))
    told(admin("POST", f"{path}/pause", json={"reason": "second"}))
    both = told(admin("POST", f"{path}/pause", json={"partition": "alpha"}))["paused"]
    left = told(admin("POST", f"{path}/resume"))["paused"]
    none = told(admin("POST", f"{path}/resume", json={"partition": "alpha"}))["paused"]

    assert [(p["partition"], p["reason"]) for p in both] == [(None, "first"), ("alpha", None)]
    assert [p["partition"] for p in left] == ["alpha"]
    assert none == []
    assert woken == ["errand", "errand"]
    acts = [action for _, action, _ in audited(sessions)]
    assert acts == ["queue.paused"] * 3 + ["queue.resumed"] * 2


@pytest.mark.parametrize("act", ["pause", "resume"])
@pytest.mark.parametrize(("queue", "partition"), [("errand", "gamma"), ("probe", "alpha")])
def test_an_unknown_partition_is_refused(
    admin: Caller, act: str, queue: str, partition: str
) -> None:
    answer = admin("POST", f"/api/queues/{queue}/{act}", json={"partition": partition})
    assert told(answer, 400)["code"] == "unknown-partition"


def test_a_waiting_row_is_cancelled_once_and_an_ended_one_is_a_conflict(
    rows: Rows, admin: Caller, sessions: Sessions
) -> None:
    row_id = rows.one()
    path = f"/api/queues/probe/{row_id}/cancel"

    assert told(admin("POST", path, json={"reason": "not\nwanted"}))["status"] == "broken"
    assert told(admin("POST", path), 409)["code"] == "not-open"

    row = rows.row(row_id)
    assert (row.failure, row.error) == ("cancelled", "cancelled by root: not wanted")
    assert audited(sessions) == [("root", "row.cancelled", f"probe:{row_id}")]


def test_a_cancel_of_what_cannot_be_taken_back_is_a_conflict(rows: Rows, admin: Caller) -> None:
    row_id = rows.one(PUBLISH)
    lease = rows.claim_one(PUBLISH)

    problem = told(admin("POST", f"/api/queues/probe_publish/{row_id}/cancel"), 409)

    assert problem["code"] == "not-cancellable"
    assert "publishing" in problem["error"]
    assert rows.settle(leases.done(lease)) == set()


Start = Callable[[Callable[[int, None], Done]], Daemon]


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """A worker on the probe queue that looks for rows by itself only once a minute."""
    started: list[Daemon] = []

    def start(work: Callable[[int, None], Done]) -> Daemon:
        steps = (Step("first", work), Step("second", lambda _row_id, _tools: Done({})))
        pipeline = Pipeline(queue=PROBE, steps=steps, load=lambda _session, row_id: row_id, batch=2)
        policy = Policy(concurrency=2, interval=timedelta(seconds=60), ttl=timedelta(seconds=2))
        daemon = Daemon(engine, engine, [Assignment(pipeline)], policy)
        daemon.start()
        started.append(daemon)
        listens = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            eventually(lambda: connection.scalar(listens))
        return daemon

    yield start
    for daemon in started:
        daemon.drain()


@pytest.fixture
def live(engine: Engine, sessions: Sessions) -> Iterator[Caller]:
    """An admin of an API that really tells the workers."""
    with closing(Notifier(engine)) as notifier:
        app = create_app(
            make_settings(), sessions, work=Work(queues=(PROBE,)), ready=notifier.ready
        )
        yield People(app, app.test_client(), sessions)("root", Role.ADMIN)


def test_a_pause_stops_claims_lets_running_rows_finish_and_a_resume_is_heard_at_once(
    rows: Rows, live: Caller, start: Start
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def work(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(20)
        return Done({})

    (begun,) = rows.add()
    start(work)
    assert running.wait(10)
    told(live("POST", "/api/queues/probe/pause"))
    waiting = rows.add(count=3)
    told(live("POST", "/api/queues/probe/requeue", json={"filter": {}}))  # a hint, and nothing more
    go_on.set()
    eventually(lambda: rows.row(begun).status == "finished")
    assert {rows.row(row_id).status for row_id in waiting} == {"waiting"}

    resumed = time.monotonic()
    told(live("POST", "/api/queues/probe/resume"))
    eventually(lambda: {rows.row(row_id).status for row_id in waiting} == {"finished"})

    # A look of its own would have been due a minute after the last one.
    assert time.monotonic() - resumed < 10


def test_a_requeued_row_is_picked_up_at_once(rows: Rows, live: Caller, start: Start) -> None:
    failing = threading.Event()

    def work(_row_id: int, _tools: None) -> Done:
        if failing.is_set():
            return Done({})
        raise Permanent("not yet")

    (row_id,) = rows.add()
    start(work)
    eventually(lambda: rows.row(row_id).failure == "permanent")
    failing.set()

    told(live("POST", "/api/queues/probe/requeue", json={"ids": [row_id]}))

    eventually(lambda: rows.row(row_id).status == "finished", within=10)


def test_a_cancel_of_a_running_row_takes_effect_at_its_next_write(
    rows: Rows, live: Caller, start: Start
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def work(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(20)
        return Done({})

    (row_id,) = rows.add()
    daemon = start(work)
    assert running.wait(10)

    told(live("POST", f"/api/queues/probe/{row_id}/cancel", json={"reason": "enough"}))
    go_on.set()

    assert daemon._held.wait_empty(10)
    row = rows.row(row_id)
    assert (row.status, row.failure, row.step) == ("broken", "cancelled", None)
    assert rows.outcomes(row_id) == ["cancelled"]
