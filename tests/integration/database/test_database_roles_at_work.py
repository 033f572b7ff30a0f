"""An API and a worker of each kind, each logged in as its role, do all that there is to do."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from backend.audit import sealing
from backend.database_roles import rights
from backend.database_roles.founding import found
from backend.db import make_engine, make_sessions
from backend.migrations.run import upgrade
from backend.workloads.packages.publishing.tools import PublishingTools
from backend.workloads.packages.registry.origin import Origin
from backend.workloads.packages.tools import VettingTools
from tests.callers import Caller
from tests.conftest import open_directory
from tests.integration.packages.courier import INTERNAL, add_webhook
from tests.integration.packages.deciding import approve
from tests.integration.packages.house import House, wait_until
from tests.integration.splunk.ingesting import APP, tar_of
from tests.registry_server import Answer, RegistryServer, dist
from tests.role_server import role_server
from tests.webhook_receiver import Receiver
from workers import main
from workers.daemon import Assignment, Daemon, Policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS: Mapping[str, str] = {
    rights.VETTER: "packages",
    rights.PUBLISHER: "package_publisher",
    rights.WEBHOOKS: "webhooks",
    rights.SPLUNK: "splunk",
    rights.TASKS: "default,ari_analysis,ffe_planning,edm_analysis,model_training",
    rights.MAINTENANCE: "maintenance",
}
PASSWORD = "of a part"
NONE, TAKEN = Answer.json({"error": "none"}, status=404), Answer.json({"ok": "made"}, status=201)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database under the roles, with a login for each."""
    with open_directory() as folder, role_server(folder / "data") as url:
        upgrade(url)
        engine = make_engine(url)
        with engine.begin() as connection:
            found(connection)
            for role in rights.PARTS:
                login = f"{role}_login"
                statement = f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role}"
                connection.execute(text(statement))
        engine.dispose()
        yield url


@contextmanager
def engine_of(url: str, role: str) -> Iterator[Engine]:
    login = make_url(url).set(username=f"{role}_login", password=PASSWORD)
    engine = make_engine(login.render_as_string(hide_password=False), application_name=role)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def worker(house: House, url: str, role: str) -> Iterator[None]:
    """The daemon of one kind, with all its duties, as its role."""
    login = make_url(url).set(username=f"{role}_login", password=PASSWORD)
    settings = house.settings.model_copy(
        update={
            "worker_type": KINDS[role],
            "database_url": SecretStr(login.render_as_string(hide_password=False)),
        }
    )
    with engine_of(url, role) as engine, engine_of(url, role) as listening:
        assignments = main.served(settings)
        policy = Policy(interval=timedelta(seconds=1), ttl=timedelta(seconds=10), children=1)
        running = Daemon(
            engine, listening, assignments, policy, name=role,
            duties=main.duties(settings),
        )  # fmt: skip
        running.start()
        try:
            yield
        finally:
            running.drain()
            for origin in origins(assignments):
                origin.close()


def origins(assignments: Sequence[Assignment]) -> Iterator[Origin]:
    """What holds connections to registries."""
    for assignment in assignments:
        match assignment.pipeline.tools:
            case VettingTools(origin=origin):
                yield origin
            case PublishingTools(target=target, source=source):
                yield from (target.origin, source)


@pytest.fixture
def target() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def house(url: str, target: RegistryServer, tmp_path: Path) -> Iterator[House]:
    """The API, as its role."""
    archives = tmp_path / "archives"
    archives.mkdir()
    changes = {
        **INTERNAL,
        "TARGET_REPOSITORY_URL": target.url,
        "SPLUNK_KEY": "k" * 40,
        "TASK_KEY": "t" * 40,
        "STORAGE_DIR": tmp_path / "store",
        "AUDIT_ARCHIVE_DIR": archives,
    }
    with RegistryServer() as registry, engine_of(url, rights.API) as engine:
        house = House(registry, url, engine, tmp_path, changes=changes)
        with house.closing:
            yield house


def published(house: House, target: RegistryServer) -> int:
    """A package is asked for, vetted, approved and published; answers its row's id."""
    tarball = house.publish("left")
    version = {"version": "1.0.0", "dist": dist(tarball)}
    target.answer(
        "/left", NONE, TAKEN, Answer.json({"name": "left", "versions": {"1.0.0": version}})
    )
    lock = {"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "packages": {
        "": {"name": "shop", "version": "1.0.0"},
        "node_modules/left": house.entry("left", tarball=tarball),
    }}  # fmt: skip
    request_id = house.submit(lock)
    package = reached(lambda: house.package(request_id), status="Pending Approval")
    assert approve(house, package)["failed_packages"] == []
    answer = house.people.approver("POST", f"/api/approver/packages/publish/{package['id']}")
    assert answer.status_code == 200, answer.text
    return int(reached(lambda: house.package(request_id), status="Published")["id"])


def reached(look: Any, *, status: str) -> dict[str, Any]:
    def looked() -> dict[str, Any] | None:
        seen: dict[str, Any] = look()
        return seen if seen["status"] == status else None

    last: dict[str, Any] = wait_until(looked, seconds=60, what=status)
    return last


def parsed(house: House) -> None:
    """An archive is uploaded, and its run completes."""
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="etc.tgz"\r\n\r\n',
        tar_of(APP),
        b'\r\n--b\r\nContent-Disposition: form-data; name="type"\r\n\r\ninstance_etc\r\n--b--\r\n',
    )
    body = b"".join(parts)
    answer = house.people.user(
        "POST", "/v1/uploads", input_stream=io.BytesIO(body), content_length=len(body),
        content_type="multipart/form-data; boundary=b",
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    run = answer.get_json()["id"]
    reached(lambda: house.people.user("GET", f"/v1/runs/{run}").get_json(), status="complete")


def done(house: House, by: Caller, kind: str, **parameters: Any) -> dict[str, Any]:
    """A task's result."""
    answer = by("POST", "/api/tasks", json={"task_type": kind, "parameters": parameters})
    assert answer.status_code == 202, answer.text
    return task(house, by, answer.get_json()["task_id"])


def task(house: House, by: Caller, task_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        seen: dict[str, Any] = by("GET", f"/api/tasks/status/{task_id}").get_json()
        return seen if seen["status"] in {"completed", "failed"} else None

    seen = wait_until(ended, seconds=90, what=task_id)
    assert seen["status"] == "completed", seen
    result: dict[str, Any] = seen["result"]
    return result


def old_seal(url: str) -> None:
    """What was noted so far was sealed a hundred days ago."""
    engine = make_engine(url)
    with pytest.MonkeyPatch.context() as patch, make_sessions(engine).begin() as session:
        patch.setattr(sealing, "_NOW", text("SELECT now() - interval '100 days'"))
        assert sealing.seal(session, None) is not None
    engine.dispose()


def scheduled(url: str) -> None:
    """A schedule of the house is due."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE schedules SET next_fire_at = now() WHERE task_type = 'cleanup_cache'")
        )
    engine.dispose()


def test_each_part_does_its_work_as_its_role(
    house: House, url: str, target: RegistryServer
) -> None:
    admin, user = house.people.admin, house.people.user
    old_seal(url)
    with ExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        receiver = stack.enter_context(Receiver())
        receiver.secret = add_webhook(house, receiver.url, "request.finished", "run.completed")[
            "secret"
        ]
        for role in KINDS:
            stack.enter_context(worker(house, url, role))
        published(house, target)
        parsed(house)
        wait_until(lambda: len(receiver.accepted) >= 2, seconds=30, what="both events arrived")
        snapshot = {"metric": "ari", "value": 1.5, "taken_at": "2026-01-01T00:00:00Z"}
        assert user("POST", "/api/data/ari-snapshots", json=snapshot).status_code == 201
        done(house, user, "aggregate_ari_snapshots")
        assert done(house, admin, "archive_audit_logs", days_to_keep=90)["status"] == "archived"
        kept = dict.fromkeys(("tasks", "interactions", "resolved_debts", "events"), 7)
        done(house, admin, "enforce_retention_policy", policy=kept)
        maintained = done(house, admin, "maintain_database", level="standard")
        scheduled(url)
        wait_until(
            lambda: house.database.one(
                "SELECT count(*) FROM tasks"
                " WHERE task_type = 'cleanup_cache' AND status = 'completed'"
            ),
            seconds=60, what="the schedule's task was done",
        )  # fmt: skip
        wait_until(
            lambda: house.database.one("SELECT count(*) FROM audit_seals"),
            seconds=30, what="the audit log is sealed",
        )  # fmt: skip

    assert maintained["skipped"] == []
    said = [line for line in logs if "nsufficientPrivilege" in str(line)]
    assert said == []
    broken = [line for line in logs if line["log_level"] in {"error", "critical"}]
    assert broken == []
