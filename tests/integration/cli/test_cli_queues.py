"""What the command line shows of queues and does to them, against an API that is served."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, func, update
from werkzeug.serving import make_server

from backend.db import Sessions
from backend.queue import fleet
from backend.web.assembly import assemble
from backend.workloads.packages.model import PackageStatus
from tests.callers import make_settings
from tests.command_line import Finished, environment, error_line, lockkeeper
from tests.integration.packages.house import People, lock_of, multipart
from tests.registry_server import integrity

Run = Callable[..., Finished]
NAMES = ("keel", "mast", "oar", "sail")


@pytest.fixture
def app(engine: Engine) -> Flask:
    return assemble(make_settings(), engine)


@pytest.fixture
def people(app: Flask, sessions: Sessions) -> People:
    return People(app, app.test_client(), sessions)


@pytest.fixture
def run(app: Flask, people: People, tmp_path: Path) -> Iterator[Run]:
    """Runs a command as an admin, or as the caller that is named."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    env = environment(tmp_path, LOCKKEEPER_URL=f"http://127.0.0.1:{server.port}")

    def run(*arguments: str, as_user: bool = False) -> Finished:
        token = (people.user if as_user else people.admin).token
        return lockkeeper(*arguments, env={**env, "LOCKKEEPER_TOKEN": token})

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def rows(people: People) -> dict[str, int]:
    """Row ids of four packages that wait to be vetted, by name."""
    entries: Mapping[str, Any] = {
        name: {"version": "1.0.0", "integrity": integrity(name.encode())} for name in NAMES
    }
    people.user("POST", "/api/packages/upload", **multipart(lock_of(entries)))
    found = people.user("GET", "/api/packages/requests/1").get_json()["packages"]
    return {package["name"]: package["id"] for package in found}


@pytest.fixture
def fail(sessions: Sessions) -> Callable[..., None]:
    def fail(*ids: int, failure: str = "exhausted", error: str = "row 1 broke") -> None:
        with sessions.begin() as session:
            session.execute(
                update(PackageStatus)
                .where(PackageStatus.id.in_(ids))
                .values(
                    status="Rejected", failed_from="Requested", failure=failure, error=error,
                    completed_at=func.now(),
                )
            )  # fmt: skip

    return fail


def parsed(finished: Finished) -> Any:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_queues_are_shown_paused_and_resumed(run: Run, rows: dict[str, int]) -> None:
    paused = run("pause", "packages", "--reason", "the mirror moves")
    shown = run("queues")
    listed = {one["queue"]: one for one in parsed(run("queues", "--json"))["queues"]}
    resumed = run("resume", "packages")

    assert paused.stdout == "packages: paused by root: the mirror moves\n"
    (line,) = (line for line in shown.stdout.splitlines() if line.split()[:1] == ["packages"])
    assert line.split()[1:4] == ["4", "0", "0"]
    assert line.rstrip().endswith("paused by root: the mirror moves")
    assert listed["packages"]["depth"]["ready"] == 4
    assert resumed.stdout == "packages: not paused\n"
    assert parsed(run("pause", "packages", "--json"))["paused"][0]["reason"] is None


def test_workers_are_shown(run: Run, sessions: Sessions) -> None:
    none = run("workers")
    with sessions.begin() as session:
        queues = ["packages"]
        session.add(fleet.Worker(name="w-1", hostname="h", pid=7, version="1", queues=queues))

    assert none.stdout == "There is no worker.\n"
    assert "w-1" in run("workers").stdout
    (worker,) = parsed(run("workers", "--json"))["workers"]
    assert (worker["name"], worker["alive"]) == ("w-1", True)


def test_a_requeue_is_previewed_and_then_done(
    run: Run, rows: dict[str, int], fail: Callable[..., None]
) -> None:
    fail(rows["keel"], rows["mast"])
    fail(rows["oar"], failure="poison", error="it killed its worker")

    seen = parsed(run("requeue", "packages", "--all", "--preview", "--json"))
    table = run("requeue", "packages", "--all", "--preview").stdout
    alike = run("requeue", "packages", "--fingerprint", seen["groups"][0]["fingerprint"])
    poison = parsed(run("requeue", "packages", "--failure", "poison", "--alone", "--json"))
    nothing = run("requeue", "packages", str(rows["sail"]))

    assert (seen["count"], seen["requeued"]) == (3, 0)
    assert table.startswith("3 rows of packages would be requeued")
    assert "it killed its worker" in table
    assert alike.stdout == "2 rows queued again\n"
    assert poison["requeued"] == 1
    assert nothing.returncode == 1
    left = f"no failed rows of packages, left alone: {rows['sail']}"
    assert nothing.stdout == f"0 rows queued again; {left}\n"


def test_a_row_is_cancelled_once(run: Run, rows: dict[str, int]) -> None:
    row = str(rows["keel"])

    assert (
        run("cancel", "packages", row, "--reason", "why").stdout == f"row {row} is Rejected now\n"
    )
    again = run("cancel", "packages", row)
    assert again.returncode == 1
    assert f"Row {row} is Rejected" in error_line(again)


def test_what_is_refused_is_one_line(run: Run) -> None:
    there = "there are: packages, package_publisher, splunk, tasks, events, deliveries."
    assert error_line(run("pause", "nonsense")) == f'There is no queue "nonsense"; {there}'
    assert error_line(run("pause", "b?c#d")) == f'There is no queue "b?c#d"; {there}'
    dots = run("pause", "..")
    assert (dots.returncode, error_line(dots)) == (2, "Invalid value for 'QUEUE': name a queue.")
    forbidden = run("pause", "packages", as_user=True)
    assert (forbidden.returncode, "role" in error_line(forbidden)) == (1, True)
    vague = run("requeue", "packages")
    assert (vague.returncode, "--all" in error_line(vague)) == (2, True)
