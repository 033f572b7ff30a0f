"""What a worker counts while it works, and what it tells its operator over HTTP."""

import http.client
import json
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, RootModel
from sqlalchemy import Engine, text

from backend.db import Sessions, make_engine
from backend.queue import control
from backend.queue.breaker import Breakers, CircuitOpen, Rules
from backend.queue.pipeline import Done, Isolation, Pipeline, Reject, Step
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from backend.queue.wake import Notifier
from backend.settings import SettingsError
from tests.conftest import REPOSITORY
from tests.integration.queue import lone_worker
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PARCEL
from workers import health, reaping, suspects
from workers.daemon import Assignment, Daemon, Policy
from workers.health import HealthServer, Probes, probes_of
from workers.isolation import Children
from workers.metrics import Metrics

TTL = timedelta(seconds=2)
TOKEN = "a-token-of-the-scraper"
ATTEMPTS = "lockkeeper_attempts_total"

Start = Callable[..., Daemon]


def parcels(run: Callable[..., Any]) -> Pipeline:
    return Pipeline(
        queue=PARCEL, steps=(Step("inspect", run),), load=lambda _session, row_id: row_id, batch=10
    )


def finish(_row_id: int, _tools: None) -> Done:
    return Done()


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    engine = make_engine(database_url, pool_size=20, application_name="worker under test")
    started: list[Daemon] = []

    def start(run: Callable[..., Any] = finish, **policy: Any) -> Daemon:
        policy = {"interval": timedelta(milliseconds=50), "ttl": TTL, "concurrency": 4, **policy}
        daemon = Daemon(engine, engine, [Assignment(parcels(run))], Policy(**policy))
        daemon.start()
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.drain()
    engine.dispose()


def value(daemon: Daemon, name: str, **labels: str) -> float:
    found = daemon.metrics.registry.get_sample_value(f"lockkeeper_{name}", labels)
    return math.nan if found is None else found


def attempts(daemon: Daemon) -> dict[tuple[str, str], float]:
    """By outcome and failure."""
    return {
        (sample.labels["outcome"], sample.labels["failure"]): sample.value
        for family in daemon.metrics.registry.collect()
        for sample in family.samples
        if sample.name == ATTEMPTS
    }


def test_the_counters_say_how_every_attempt_ended(rows: Rows, start: Start) -> None:
    _, bad, refused, slow, again, dies = rows.add(PARCEL, 6)
    rows.change(slow, PARCEL, max_attempts=1)
    tries = {row_id: count() for row_id in (again, dies)}

    def run(row_id: int, _tools: None) -> Done | Reject:
        match row_id:
            case _ if row_id == bad:
                raise Permanent("not a package")
            case _ if row_id == refused:
                return Reject("policy says no")
            case _ if row_id == slow:
                raise TimedOut("took too long")
        if row_id in tries and next(tries[row_id]) == 0:
            raise Transient("busy") if row_id == again else Died("a signal")
        return Done()

    daemon = start(run)
    expected = {
        ("done", ""): 3, ("failed", "permanent"): 1, ("failed", "policy"): 1,
        ("failed", "timeout"): 1, ("retry", ""): 1, ("died", ""): 1,
    }  # fmt: skip

    eventually(lambda: attempts(daemon) == expected)
    assert sorted(rows.outcomes()) == sorted(
        outcome for (outcome, _), times in expected.items() for _ in range(int(times))
    )
    queue = {"queue": "parcel"}
    assert value(daemon, "retries_total", **queue) == 2
    assert value(daemon, "claimed_rows_total", **queue) == 8
    assert value(daemon, "settle_batch_rows_sum", **queue) == 8
    for seconds in ("attempt_run_seconds", "attempt_wait_seconds"):
        assert value(daemon, f"{seconds}_count", **queue) == 8
    assert value(daemon, "step_seconds_count", step="inspect", **queue) == 8
    assert value(daemon, "claims_total", found="rows", **queue) >= 2
    eventually(lambda: value(daemon, "claims_total", found="nothing", **queue) >= 1)
    assert value(daemon, "leases_lost_total", **queue) == 0


def test_rows_of_a_dead_worker_are_counted_as_reaped_and_the_third_stall_as_poison(
    rows: Rows, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "EVERY", 0.1)
    rows.add(PARCEL, 2)
    rows.claim(PARCEL, worker="dead", ttl=timedelta(milliseconds=1))
    rows.add(PARCEL, 1, stalls=2)
    third = rows.claim_suspect(PARCEL, worker="dead")
    assert third is not None
    rows.expire(third.id, queue=PARCEL)
    daemon = start()

    eventually(lambda: value(daemon, "reaped_rows_total", queue="parcel") == 3)
    assert value(daemon, "poison_rows_total", queue="parcel") == 1
    eventually(lambda: attempts(daemon) == {("done", ""): 2})


@pytest.mark.slow
def test_suspects_that_ran_in_a_process_of_their_own_are_counted_here(
    rows: Rows, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "EVERY", 0.05)
    url = engine.url.render_as_string(hide_password=False)
    alone = [sys.executable, "-m", "tests.integration.queue.lone_worker", url]
    rows.add(stalls=2, payload="kill")
    rows.add(stalls=2)
    daemon = Daemon(engine, engine, [Assignment(lone_worker.PIPELINE)], Policy(), alone=alone)
    daemon.start()

    eventually(lambda: sum(attempts(daemon).values()) == 2)
    assert attempts(daemon) == {("failed", "poison"): 1, ("done", ""): 1}
    assert value(daemon, "poison_rows_total", queue="probe") == 1
    daemon.drain()


def test_held_rows_are_those_that_run_and_a_cancelled_one_is_a_lost_lease(
    rows: Rows, start: Start, sessions: Sessions
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def run(_row_id: int, _tools: None) -> Done:
        running.set()
        assert go_on.wait(10)
        return Done()

    row_id = rows.one(PARCEL)
    daemon = start(run)
    assert running.wait(10)
    assert value(daemon, "held_rows", queue="parcel") == 1
    assert value(daemon, "capacity_rows", queue="parcel") == 10
    with sessions.begin() as session:
        control.cancel(session, PARCEL, [row_id], why="enough")
    go_on.set()

    eventually(lambda: value(daemon, "leases_lost_total", queue="parcel") == 1)
    eventually(lambda: value(daemon, "held_rows", queue="parcel") == 0)
    assert attempts(daemon) == {}


def test_hints_and_lost_listeners_are_counted(engine: Engine, start: Start) -> None:
    daemon = start()
    listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    notifier = Notifier(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        eventually(lambda: connection.scalar(text(f"SELECT count(*) {listening}")))
        notifier.ready("parcel")
        eventually(lambda: value(daemon, "notifications_total") == 1)
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {listening}"))
        eventually(lambda: value(daemon, "listener_lost_total") == 1)
    notifier.close()


def test_a_worker_whose_heartbeats_fail_is_alive_but_not_ready(
    engine: Engine, start: Start
) -> None:
    daemon = start(ttl=timedelta(seconds=0.4))
    probes = probes_of(daemon, lease=timedelta(seconds=0.4), token=None)
    eventually(lambda: probes.answer("/ready", "").status == 200)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE workers"))  # no heartbeat gets through
        eventually(lambda: value(daemon, "heartbeats_failed_total") >= 1)
        eventually(lambda: probes.answer("/ready", "").status == 503)
        said = json.loads(probes.answer("/ready", "").body)

        assert said["status"] == "unavailable"
        assert said["checks"].pop("database").startswith("not reached for")
        assert said["checks"] == {"threads": "ok", "claiming": "ok"}
        assert probes.answer("/health", "").status == 200
        assert value(daemon, "database_silence_seconds") > 0.4
    eventually(lambda: probes.answer("/ready", "").status == 200)


def test_a_worker_whose_claims_never_come_to_an_end_is_not_ready(
    engine: Engine, start: Start
) -> None:
    daemon = start(ttl=timedelta(seconds=0.2))
    probes = probes_of(daemon, lease=TTL, token=None)
    eventually(lambda: probes.answer("/ready", "").status == 200)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE parcel"))  # heartbeats get through, no claim does
        eventually(lambda: probes.answer("/ready", "").status == 503)
        checks = json.loads(probes.answer("/ready", "").body)["checks"]

    assert checks == {"threads": "ok", "database": "ok", "claiming": "held up: parcel"}
    assert probes.answer("/health", "").status == 200  # to start it again would mend nothing
    eventually(lambda: probes.answer("/ready", "").status == 200)


def test_a_worker_that_drains_is_alive_but_not_ready(start: Start) -> None:
    daemon = start()
    probes = probes_of(daemon, lease=TTL, token=None)
    daemon.drain()

    assert json.loads(probes.answer("/ready", "").body)["checks"]["claiming"] == "draining"
    assert probes.answer("/health", "").status == 200
    assert value(daemon, "draining") == 1


@pytest.fixture
def serve() -> Iterator[Callable[..., HealthServer]]:
    servers: list[HealthServer] = []

    def serve(daemon: Daemon | None = None, token: str | None = None) -> HealthServer:
        metrics = Metrics(["parcel"], version="1")
        probes = Probes(lambda: True, dict, metrics.registry, token)
        if daemon:
            probes = probes_of(daemon, lease=TTL, token=token)
        servers.append(HealthServer("127.0.0.1", 0, probes))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


Serve = Callable[..., HealthServer]


def ask(
    server: HealthServer, path: str, method: str = "GET", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_health_fails_once_a_thread_that_must_live_has_died(start: Start, serve: Serve) -> None:
    daemon = start()
    server = serve(daemon)
    assert ask(server, "/health").status == 200

    daemon._producers[0].drain()  # its thread ends, and nobody asked the worker to

    eventually(lambda: ask(server, "/health").status == 503)
    answer = ask(server, "/ready")
    assert (answer.status, json.load(answer)["checks"]["threads"]) == (503, "a thread died")


def test_metrics_need_the_token_where_there_is_one(start: Start, serve: Serve) -> None:
    guarded, opened = serve(start(), token=TOKEN), serve()
    given = {"none": {}, "wrong": {"Authorization": f"Bearer {TOKEN}x"},
             "basic": {"Authorization": TOKEN}}  # fmt: skip

    assert {ask(guarded, "/metrics", **headers).status for headers in given.values()} == {401}
    assert ask(guarded, "/health").status == 200
    eventually(lambda: ask(guarded, "/ready?verbose=1").status == 200)
    assert ask(opened, "/metrics").status == 200
    answer = ask(guarded, "/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    assert answer.headers.get_content_type() == "text/plain"
    names = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    assert {"lockkeeper_claims", "lockkeeper_held_rows", "lockkeeper_build_info"} <= names


def test_only_get_is_answered_and_the_server_does_not_say_what_it_is_made_of(serve: Serve) -> None:
    server = serve()

    assert ask(server, "/health", "POST").status == 501
    assert ask(server, "/etc/passwd").status == 404
    assert ask(server, "/health").headers["Server"].strip() == "lockkeeper"


def test_who_connects_and_says_nothing_keeps_nobody_out_for_long(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DEADLINE", 0.5)
    server = serve()
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    try:
        dripping = silent[0]
        dripping.sendall(b"GET /health HTTP/1.0\r\n")
        assert len(server._server._open) <= health.CONNECTIONS

        eventually(lambda: _answers(server))
        dripping.settimeout(10)
        assert dripping.recv(100) == b""
    finally:
        for connection in silent:
            connection.close()


def _answers(server: HealthServer) -> bool:
    try:
        return ask(server, "/health").status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "metrics.example.test"])
def test_metrics_without_a_token_are_for_this_host_alone(host: str) -> None:
    probes = Probes(lambda: True, dict, Metrics([], version="1").registry)

    with pytest.raises(SettingsError, match="METRICS_TOKEN"):
        HealthServer(host, 0, probes)


def test_every_address_is_served_with_a_token() -> None:
    probes = Probes(lambda: True, dict, Metrics([], version="1").registry, TOKEN)
    server = HealthServer("0.0.0.0", 0, probes)
    server.start()

    assert ask(server, "/metrics").status == 401
    server.close()


def test_breakers_of_a_workers_pipelines_are_shown_by_host_and_state(engine: Engine) -> None:
    pipeline, now = parcels(finish), [0.0]
    rules = Rules(failures=1, clock=lambda: now[0], jitter=lambda: 0.0)
    pipeline = replace(pipeline, breakers=Breakers(rules))
    daemon = Daemon(engine, engine, [Assignment(pipeline)], Policy())
    host = "registry.example.test"

    def shown() -> dict[str, float]:
        states = ("closed", "half-open", "open")
        return {state: value(daemon, "breaker_state", host=host, state=state) for state in states}

    breaker = pipeline.breakers.of(host)
    assert shown() == {"closed": 1, "half-open": 0, "open": 0}
    with pytest.raises(CircuitOpen), breaker.guard(OSError):
        raise OSError
    assert shown() == {"closed": 0, "half-open": 0, "open": 1}
    now[0] += rules.shortest.total_seconds()
    assert shown() == {"closed": 0, "half-open": 1, "open": 0}


def test_a_worker_whose_port_is_taken_says_so_in_one_line_and_ends_with_two(
    database_url: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "backend.cli", "worker"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
            env={"DATABASE_URL": database_url, "WORKER_METRICS_PORT": port},
        )  # fmt: skip

    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in done.stderr


class Answer(BaseModel):
    value: int


def test_children_are_counted_by_what_became_of_them() -> None:
    metrics, mebibyte = Metrics([], version="1"), 2**20
    children = Children(1, happened=metrics.child)
    source = RootModel[str]("{'value': 6 * 7}")

    def run(memory: int, *, fresh: bool = False) -> None:
        step = Step("inspect", eval, isolation=Isolation.PROCESS, result=Answer, memory=memory)
        children.run(step, source, started=lambda: None, fresh=fresh)

    run(256 * mebibyte)
    run(256 * mebibyte)  # in the same one
    run(128 * mebibyte)
    run(192 * mebibyte)  # one too many to be kept
    run(128 * mebibyte, fresh=True)
    children.close()

    counted = {
        event: metrics.registry.get_sample_value("lockkeeper_children_total", {"event": event})
        for event in ("started", "replaced", "recycled", "closed", "killed")
    }
    assert counted == {"started": 4, "replaced": 1, "recycled": 1, "closed": 2, "killed": None}
