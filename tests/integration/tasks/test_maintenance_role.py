"""The role that the documentation describes suffices for maintenance, and may do little else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from backend.audit import sealing
from backend.db import make_engine
from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.embedded.cluster import Cluster
from backend.embedded.installation import Installation, host_installations
from backend.identity import audit
from backend.migrations.run import upgrade
from backend.settings import psycopg2_url
from backend.workloads.tasks.maintenance import bloat, relations
from tests.conftest import REPOSITORY, open_directory
from tests.integration.tasks.task_house import TaskHouse

PAGE = REPOSITORY / "docs" / "tasks" / "maintenance.md"
ROLE = "lockkeeper_maintenance"
PASSWORD = "maintained"
OF_OWN, OF_OWNER = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def installation_of(*majors: int) -> Installation:
    known = {found.major: found for found in (*host_installations(), *wheel_installations())}
    for major in majors:
        if major in known:
            return known[major]
    pytest.skip(f"no PostgreSQL {' or '.join(map(str, majors))} is here")


@contextmanager
def server_after(
    installation: Installation, data_dir: Path, statements: str, *, database: str = "postgres"
) -> Iterator[str]:
    """Its URL; a superuser has run ``statements`` in ``database`` while it was stopped."""
    with EmbeddedPostgres(data_dir, durable=False, installations=[installation]):
        pass
    cluster = Cluster.locate(data_dir)
    single = [str(installation.bin / "postgres"), "--single", "-D", str(cluster.data), database]
    cluster._run(single, stdin=statements)
    with EmbeddedPostgres(data_dir, durable=False, installations=[installation]) as server:
        yield psycopg2_url(server.url)


@contextmanager
def house_of(url: str, **changes: Any) -> Iterator[TaskHouse]:
    engine = make_engine(url, application_name="lockkeeper-tests")
    house = TaskHouse(engine, DATABASE_URL=url, **changes)
    try:
        yield house
    finally:
        house.close()
        engine.dispose()


def fill(house: TaskHouse) -> None:
    """Old rows of each kind, an old seal, and an index that is worth a rebuild."""
    rows = """
    INSERT INTO users (username, password_hash, role) VALUES ('eve', '!', 'user');
    INSERT INTO ari_snapshots (user_id, metric, value, taken_at)
    SELECT id, 'm', n, now() - n * interval '1 hour'
    FROM generate_series(1, 6000) n, (SELECT max(id) AS id FROM users) AS newest;
    INSERT INTO tasks (queue, task_type, status, submitted_by, completed_at)
    SELECT 'default', 'say', 'completed', max(id), now() - interval '9 days' FROM users;
    INSERT INTO events (kind, subject, detail, created_at, dispatched_at)
    VALUES ('ping', 's', '{}', now() - interval '9 days', now());
    INSERT INTO interactions (user_id, occurred_at, text)
    SELECT max(id), now() - interval '9 days', 'said' FROM users;
    INSERT INTO ingestion_runs (status, type, uploaded_by, filename, completed_at, archive_kind,
      files_parsed, stanzas_created, parse_errors, duration_seconds)
    SELECT 'complete', 'single_conf', max(id), 'f', now() - interval '9 days', 'conf', 0, 0, 0, 1
    FROM users;
    INSERT INTO run_notices SELECT id, 0, 'c', 'm' FROM ingestion_runs;
    INSERT INTO files (run_id, file_no, path, kind, sha256, size_bytes, conf_type, layer, scope)
    SELECT id, 0, 'f', 'conf', repeat('0', 64), 1, 'inputs', 'system', 'local' FROM ingestion_runs;
    INSERT INTO stanzas (run_id, stanza_no, file_no, order_in_file, line, conf_type, name, layer,
      scope, raw_kv, lines)
    SELECT id, 0, 0, 0, 1, 'inputs', 'n', 'system', 'local', '{}', '{}' FROM ingestion_runs;
    INSERT INTO inputs (run_id, stanza_no) SELECT run_id, 0 FROM stanzas;
    INSERT INTO interactions (user_id, occurred_at, text) SELECT max(id), now(), 'x' FROM users;
    INSERT INTO debts (user_id, interaction_id, kind, severity, sentence, sentence_digest, reason,
      status, resolution_method, resolved_at)
    SELECT user_id, id, 'vague', 'low', 'x', sha256('x'), 'r', 'resolved', 'cited',
      now() - interval '9 days' FROM interactions;
    """
    with house.engine.begin() as connection:
        connection.execute(text(rows))
    with house.sessions.begin() as session:
        audit.record(session, "test", "thing.done", "a:1")
    past = select(func.clock_timestamp() - text("interval '100 days'"))
    with pytest.MonkeyPatch.context() as patch, house.sessions.begin() as session:
        patch.setattr(sealing, "_NOW", past)
        assert sealing.seal(session, None) is not None


KINDS = (
    "ari_snapshots", "events", "ingestion_runs", "interactions", "resolved_debts", "tasks",
)  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "archive_audit_logs": {},
    "maintain_database": {"level": "heavy"},
    "cleanup_cache": {},
    "enforce_retention_policy": {"policy": dict.fromkeys(KINDS, 7)},
}


def results(owner: TaskHouse, role: TaskHouse) -> dict[str, Any]:
    """The owner's API takes the tasks; a worker of the role does them."""
    admin = owner.people.admin
    ids = {
        kind: owner.submitted(admin, kind, parameters=parameters)
        for kind, parameters in TASKS.items()
    }
    role.work()
    tasks = {kind: owner.task(admin, task_id) for kind, task_id in ids.items()}
    assert {
        kind: task["error_message"] for kind, task in tasks.items() if task["error_message"]
    } == {}
    return {kind: task["result"] for kind, task in tasks.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("majors", "member"), [((18, 17), False), ((16, 15), True)])
def test_the_documented_role_does_all_maintenance(majors: tuple[int, ...], member: bool) -> None:
    installation = installation_of(*majors)
    with open_directory() as folder, ExitStack() as stack:
        made = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}';\n" + (OF_OWNER if member else "")
        url = stack.enter_context(server_after(installation, folder / "data", made))
        upgrade(url)
        archives = folder / "archives"
        archives.mkdir()
        changes = {"AUDIT_ARCHIVE_DIR": archives, "PACKAGE_CACHE_DIR": folder / "cache"}
        owner = stack.enter_context(house_of(url))
        role_url = make_url(url).set(username=ROLE, password=PASSWORD)
        role = stack.enter_context(house_of(role_url.render_as_string(False), **changes))
        fill(owner)
        if not member:
            with owner.engine.begin() as connection:
                connection.exec_driver_sql(OF_OWN)
        check(results(owner, role), installation)
        if not member:
            refused(role)


def check(found: dict[str, Any], installation: Installation) -> None:
    assert found["archive_audit_logs"]["status"] == "archived"
    maintained = found["maintain_database"]
    assert maintained["server_version"] // 10000 == installation.major
    assert maintained["skipped"] == []
    assert maintained["done"]["REINDEX INDEX CONCURRENTLY"] >= 1
    deleted = {kind["kind"]: kind["deleted"] for kind in found["enforce_retention_policy"]["kinds"]}
    assert deleted == {
        "ari_snapshots": 6000 - 167, "events": 1, "ingestion_runs": 1, "interactions": 1,
        "resolved_debts": 1, "tasks": 1,
    }  # fmt: skip


def refused(role: TaskHouse) -> None:
    for statement in (
        "DELETE FROM audit_log",
        "UPDATE users SET role = 'admin'",
        "UPDATE package_status SET status = 'Published'",
        "INSERT INTO audit_checkpoints SELECT",
        "DROP TABLE events",
        "SELECT password_hash FROM users",
    ):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            role.database.rows(statement)


MEASURING = """CREATE EXTENSION pgstattuple;
GRANT EXECUTE ON FUNCTION pgstattuple_approx(regclass) TO lockkeeper;
"""
WASTED = """
INSERT INTO users (username, password_hash, role) VALUES ('eve', '!', 'user');
INSERT INTO ari_snapshots (user_id, metric, value, taken_at)
SELECT id, 'm', n, now() - n * interval '1 hour' FROM generate_series(1, 20000) n, users;
DELETE FROM ari_snapshots WHERE id % 3 = 0;
ANALYZE ari_snapshots;
"""


@pytest.mark.slow
def test_bloat_is_measured_where_that_can_be_done_and_the_estimate_comes_near() -> None:
    found = host_installations()
    if not found or not list(Path("/usr/share").rglob("pgstattuple.control")):
        pytest.skip("no PostgreSQL with the extension pgstattuple is here")
    with (
        open_directory() as folder,
        server_after(found[0], folder / "data", MEASURING, database="lockkeeper") as url,
        house_of(url) as house,
    ):
        upgrade(url)
        with house.engine.begin() as connection:
            connection.execute(text(WASTED))
        with house.engine.begin() as connection:
            (table,) = [t for t in relations.tables(connection) if t.name == "ari_snapshots"]
            measured = {one.table: one for one in bloat.report_of(connection)}[table.name]
            estimated = bloat.bloat_of(connection, table, None)

        assert (measured.basis, estimated.basis) == ("measured", "estimated")
        assert measured.bloat_percent == pytest.approx(33, abs=3)
        assert estimated.bloat_percent == pytest.approx(33, abs=3)
