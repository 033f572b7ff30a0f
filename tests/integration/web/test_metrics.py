"""What a scraper reads of the API: its own requests, and what the database says of queues."""

import re
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from backend.database_roles.rights import ROLES
from backend.db import Sessions, make_engine, make_sessions
from backend.queue import control, fleet
from backend.web import metrics
from backend.web.app import create_app
from backend.web.assembly import assemble
from backend.web.health import Probes
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from tests.callers import Caller, make_settings
from tests.conftest import REPOSITORY
from workers.metrics import Metrics

SCRAPER = "a-token-of-the-scraper"
RUNBOOKS = REPOSITORY / "docs" / "runbooks" / "README.md"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(document: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(document)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return (f"lockkeeper_{name}", frozenset(labels.items()))


def scrape(client: FlaskClient) -> Samples:
    answer = Caller(client, SCRAPER)("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def api(sessions: Sessions, probes: Probes | None = None) -> FlaskClient:
    settings = make_settings(METRICS_TOKEN=SCRAPER)
    return create_app(settings, sessions, probes=probes or Probes()).test_client()


@pytest.fixture
def whole(engine: Engine) -> FlaskClient:
    """The API with all workloads."""
    return assemble(make_settings(METRICS_TOKEN=SCRAPER), engine).test_client()


def test_metrics_are_for_admins_and_for_the_scraper(
    sessions: Sessions, admin: Caller, user: Caller
) -> None:
    depth = GaugeMetricFamily("lockkeeper_queue_depth", "Rows.", value=7)
    client = api(sessions, Probes(metrics=lambda _session: [depth]))
    statuses = {
        name: Caller(client, token)("GET", "/metrics").status_code
        for name, token in {
            "admin": admin.token, "scraper": SCRAPER, "user": user.token, "wrong": SCRAPER + "x",
        }.items()
    }  # fmt: skip

    assert statuses == {"admin": 200, "scraper": 200, "user": 403, "wrong": 401}
    answer = Caller(client, SCRAPER)("GET", "/metrics")
    assert "lockkeeper_queue_depth 7.0" in answer.text
    assert answer.mimetype == "text/plain"


def test_the_scrapers_token_opens_nothing_else(sessions: Sessions) -> None:
    scraper = Caller(api(sessions), SCRAPER)

    assert scraper("GET", "/api/auth/userinfo").status_code == 401


def test_requests_are_counted_by_method_route_and_status_and_timed_by_route(
    sessions: Sessions,
) -> None:
    client = api(sessions)
    for _ in range(3):
        client.get("/health")
    client.get("/api/admin/users/12345")
    client.post("/health")
    counted = scrape(client)

    assert counted[key("http_requests_total", method="GET", route="/health", status="200")] == 3
    users = {"method": "GET", "route": "/api/admin/users/{id}"}
    assert counted[key("http_requests_total", **users, status="401")] == 1
    assert counted[key("http_request_duration_seconds_count", **users)] == 1
    wrong = {"method": "POST", "route": "unmatched", "status": "405"}
    assert counted[key("http_requests_total", **wrong)] == 1


def test_what_a_stranger_sends_becomes_no_label(sessions: Sessions) -> None:
    client = api(sessions)
    before = set(scrape(client))
    for number in range(20):
        client.open(f"/secret-{number}", method=f"BREW{number}")
    new = {
        dict(labels).get("method", "") + " " + dict(labels).get("route", "")
        for _, labels in set(scrape(client)) - before
    }

    assert new == {"other unmatched", "GET /metrics"}


def test_scrapes_at_once_and_soon_after_each_other_ask_the_database_once(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LEAST", 60.0)  # however slow this machine is
    asked, together = count(1), Barrier(6)

    def counting(session: Session) -> Iterator[Metric]:
        session.execute(text("SELECT pg_sleep(0.05)"))
        yield GaugeMetricFamily("lockkeeper_asked", "How often.", value=next(asked))

    app = api(sessions, Probes(metrics=counting)).application

    def one(_: Any) -> float:
        together.wait(10)
        return scrape(app.test_client())[key("asked")]

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(one, range(6))) == {1.0}
    assert scrape(app.test_client())[key("asked")] == 1.0


def test_without_its_database_the_api_still_says_what_it_served() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg2://nobody@127.0.0.1:{taken.getsockname()[1]}/nothing"
        engine = make_engine(url)
        client = api(make_sessions(engine))
        client.get("/health")
        counted = scrape(client)
        engine.dispose()

    assert counted[key("database_up")] == 0
    assert counted[key("http_requests_total", method="GET", route="/health", status="200")] == 1


def test_an_idle_house_reports_every_queue_with_zeros(whole: FlaskClient) -> None:
    counted = scrape(whole)

    assert counted[key("database_up")] == 1
    assert counted[key("workers")] == 0
    for name, labels in (
        ("queue_depth", {"state": "ready"}),
        ("queue_oldest_wait_seconds", {}),
        ("queue_oldest_progress_seconds", {}),
        ("queue_suspect_rows", {}),
        ("queue_dead_rows", {"failure": "poison"}),
        ("queue_paused", {"partition": ""}),
        ("queue_workers", {}),
        *(("queue_held_rows", {"status": word}) for word in VETTING_QUEUE.held),
    ):
        assert counted[key(name, queue=VETTING_QUEUE.name, **labels)] == 0, name


def test_workers_are_counted_by_release_by_queue_and_by_whether_they_drain(
    whole: FlaskClient, sessions: Sessions
) -> None:
    name = VETTING_QUEUE.name
    with sessions.begin() as session:
        for worker, release, draining, age in (
            ("new-1", "2.0", False, "0"), ("new-2", "2.0", False, "0"),
            ("old", "1.0", True, "0"), ("gone", "1.0", False, "1 minute"),
        ):  # fmt: skip
            session.add(
                fleet.Worker(
                    name=worker, hostname="h", pid=1, version=release, queues=[name],
                    draining=draining, heartbeat_at=text(f"now() - interval '{age}'"),
                )
            )  # fmt: skip
        control.pause(session, VETTING_QUEUE, by="ada")
    counted = scrape(whole)

    assert counted[key("workers")] == 3
    assert counted[key("queue_workers", queue=name)] == 2
    assert counted[key("workers_by_version", version="2.0", draining="false")] == 2
    assert counted[key("workers_by_version", version="1.0", draining="true")] == 1
    assert counted[key("queue_paused", queue=name, partition="")] == 1


Described = tuple[str, frozenset[str]]  # type and names of labels

BUCKET = {"le"}
NAME = re.compile(r"\blockkeeper_[a-z_]+")
SUFFIXES = ("_bucket", "_sum", "_count")


def offered(families: Iterable[Metric]) -> dict[str, Described]:
    found: dict[str, Described] = {}
    for family in families:
        name = family.name + "_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - BUCKET
        found[name] = (family.type, frozenset(labels))
    return found


def documented(section: str) -> dict[str, Described]:
    """Of one section of the page: its table."""
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    raised = set(re.findall(r"`Lockkeeper\w+`", RUNBOOKS.read_text()))
    found: dict[str, Described] = {}
    for line in page.partition(f"\n## {section}\n")[2].partition("\n## ")[0].splitlines():
        if not line.startswith("| `"):
            continue
        name, kind, labels, unit, meaning, alert = (c.strip() for c in line.strip("|").split("|"))
        assert unit
        assert meaning.endswith(".")
        assert alert == "\N{EN DASH}" or set(alert.split(", ")) <= raised
        words = frozenset() if labels == "\N{EN DASH}" else frozenset(labels.split(", "))
        found[name.strip("`")] = (kind, words)
    return found


def test_the_page_on_metrics_lists_what_the_api_offers(
    whole: FlaskClient, sessions: Sessions
) -> None:
    whole.get("/health")
    with sessions.begin() as session:
        session.add(fleet.Worker(name="w", hostname="h", pid=1, version="1", queues=[]))
        session.execute(
            text(
                "INSERT INTO attempts (queue, row_id, attempt, outcome, ended_at)"
                " VALUES (:queue, 1, 1, 'done', now())"
            ),
            {"queue": VETTING_QUEUE.name},
        )
    document = Caller(whole, SCRAPER)("GET", "/metrics").text

    assert documented("API") == offered(text_string_to_metric_families(document))


def test_the_page_on_metrics_lists_what_a_worker_offers() -> None:
    worker = Metrics(["packages"], version="1")
    worker.attempt("packages", "failed", "poison")
    worker.stepped("packages", "scan", 1.0)
    worker.claimed("packages", 1)
    worker.child("started")
    worker.watch_queue("packages", held=lambda: 1, capacity=8)
    worker.watch_breakers(lambda: {"registry.example.test": "closed"})

    assert documented("Worker") == offered(worker.registry.collect())


def test_every_metric_that_a_page_names_is_listed() -> None:
    listed = {**documented("API"), **documented("Worker")}
    parts = {
        name + suffix
        for name, (kind, _) in listed.items()
        if kind == "histogram"
        for suffix in SUFFIXES
    }
    named = {
        name
        for page in (REPOSITORY / "docs").rglob("*.md")
        for name in NAME.findall(page.read_text())
    }

    assert named - {"lockkeeper_ready", *ROLES} <= set(listed) | parts  # a channel, and roles
