"""The group roles on a server of their own: made, kept, and refused what is not theirs."""

import json
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from backend.database_roles import rights
from backend.db import make_engine
from backend.embedded import wheel_installations
from backend.embedded.installation import host_installations
from backend.migrations import run as migrations
from backend.migrations.run import upgrade
from backend.settings import psycopg2_url
from tests.command_line import Finished, environment, error_line, lockkeeper
from tests.conftest import open_directory
from tests.role_server import logged_in, role_server

pytestmark = pytest.mark.slow

ADVISORY = {
    "id": "GHSA-test", "modified": "2026-01-01T00:00:00Z", "summary": "left is broken",
    "database_specific": {"severity": "HIGH"},
    "affected": [{
        "package": {"ecosystem": "npm", "name": "left"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "2.0.0"}]}],
    }],
}  # fmt: skip


@pytest.fixture(scope="module", params=[min, max], ids=["oldest", "newest"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database at the newest schema, without roles yet; on the servers at hand."""
    at_hand = [*host_installations(), *wheel_installations()]
    installation = request.param(at_hand, key=attrgetter("major"))
    with open_directory() as folder, role_server(folder / "data", installation) as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="module")
def env(url: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return environment(tmp_path_factory.mktemp("home"), DATABASE_URL=url)


@pytest.fixture(scope="module")
def created(env: Mapping[str, str]) -> Finished:
    return lockkeeper("roles", "create", "--json", env=env)


@pytest.fixture(scope="module")
def owner(url: str, created: Finished) -> Iterator[Engine]:
    """Who owned the tables before, and is a member of who does now."""
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def parts(owner: Engine, url: str) -> Iterator[Mapping[str, Engine]]:
    """A login for each role."""
    with logged_in(owner, url) as engines:
        yield engines


def owners(engine: Engine) -> set[str]:
    query = """
    SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """
    with engine.connect() as connection:
        return set(connection.scalars(text(query)))


def undo(url: str, revision: str) -> None:
    engine = create_engine(psycopg2_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_an_empty_database_has_nothing_to_grant(url: str, tmp_path: Path) -> None:
    empty = make_url(url).set(database="postgres").render_as_string(False)

    finished = lockkeeper("roles", "create", env=environment(tmp_path, DATABASE_URL=empty))

    assert finished.returncode == 1
    assert "run `lockkeeper migrate` first" in error_line(finished)


def test_the_roles_are_made_once_and_everything_is_the_owners(
    created: Finished, owner: Engine, env: Mapping[str, str]
) -> None:
    first = json.loads(created.stdout)
    second = json.loads(lockkeeper("roles", "create", "--json", env=env).stdout)

    assert sorted(first["created"]) == sorted(rights.ROLES)
    assert first["handed_over"] > 70
    assert second == {"created": [], "handed_over": 0, "granted": 0, "revoked": 0}
    assert owners(owner) == {rights.OWNER}


def test_what_was_granted_by_hand_is_found_and_taken_back_by_the_next_migration(
    owner: Engine, env: Mapping[str, str], url: str
) -> None:
    run(owner, "GRANT SELECT ON users TO lockkeeper_vetter")
    run(owner, "REVOKE INSERT ON attempts FROM lockkeeper_splunk")
    run(owner, "GRANT EXECUTE ON FUNCTION decides(bigint) TO PUBLIC")

    found = lockkeeper("roles", "check", env=env)
    upgrade(url)
    after = lockkeeper("roles", "check", env=env)

    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "missing: lockkeeper_splunk: INSERT on table attempts",
        "superfluous: PUBLIC: EXECUTE on function decides(bigint)",
        "superfluous: lockkeeper_vetter: SELECT on table users",
        "differs",
    ]
    assert (after.returncode, after.stdout) == (0, "as this release grants it\n")


def test_what_a_migration_makes_is_the_owners_and_granted_at_once(
    owner: Engine, env: Mapping[str, str], url: str
) -> None:
    undo(url, "0016")

    assert lockkeeper("roles", "check", env=env).returncode == 1
    upgrade(url)

    assert owners(owner) == {rights.OWNER}
    assert lockkeeper("roles", "check", env=env).returncode == 0


REFUSED: Mapping[str, tuple[str, ...]] = {
    "api": (
        "DELETE FROM audit_log", "UPDATE audit_seals SET total = 0", "DELETE FROM decisions",
        "SELECT audit_archive(1, '', 1, now(), '', '', '')", "SELECT decide_by_policy(1)",
        "INSERT INTO publications (artifact_id) VALUES (1)", "DROP TABLE events",
        "CREATE TABLE mine (id int)", "TRUNCATE requests",
        "UPDATE artifact_evidence SET inspection = '{}'",
        "SELECT attempts_drop_week(now())", "INSERT INTO security_scans (artifact_id) VALUES (1)",
    ),
    "vetter": (
        "SELECT password_hash FROM users", "SELECT username FROM users",
        "UPDATE users SET role = 'admin'", "SELECT url FROM webhooks", "SELECT lock FROM requests",
        "INSERT INTO decisions (artifact_id, decision, decided_by) VALUES (1, 'approve', 1)",
        "UPDATE waivers SET expires_at = now()", "INSERT INTO policy_versions (digest) VALUES ('')",
        "UPDATE supported_licenses SET status = 'allowed'", "SELECT * FROM publications",
        "SELECT detail FROM audit_log", "SELECT * FROM tasks", "SELECT * FROM ingestion_runs",
        "DELETE FROM queue_pauses", "DELETE FROM attempts", "SELECT attempts_drop_week(now())",
    ),
    "publisher": (
        "SELECT * FROM users", "SELECT inspection FROM artifact_evidence", "SELECT * FROM findings",
        "UPDATE artifacts SET sha512 = ''", "INSERT INTO decisions (artifact_id) VALUES (1)",
        "SELECT decide_by_policy(1)", "SELECT * FROM policy_versions", "SELECT * FROM tasks",
    ),
    "webhooks": (
        "UPDATE webhooks SET url = 'x'", "SELECT password_hash FROM users",
        "SELECT error FROM package_status", "SELECT * FROM audit_log", "SELECT * FROM decisions",
    ),
    "splunk": (
        "SELECT * FROM users", "SELECT * FROM requests", "SELECT * FROM package_status",
        "INSERT INTO ingestion_runs (type) VALUES ('x')", "UPDATE stanzas SET name = ''",
        "INSERT INTO audit_log (action) VALUES ('x')",
    ),
    "tasks": (
        "SELECT password_hash FROM users", "DELETE FROM interactions",
        "UPDATE goals SET title = ''",
        "INSERT INTO reviewed_claims (claim) VALUES ('x')", "SELECT * FROM package_status",
        "UPDATE schedules SET cron = ''", "DELETE FROM tasks", "SELECT detail FROM audit_log",
    ),
    "maintenance": (
        "DELETE FROM audit_log", "UPDATE users SET role = 'admin'",
        "SELECT password_hash FROM users", "SELECT text FROM interactions",
        "SELECT data_key FROM ingestion_runs", "INSERT INTO audit_checkpoints SELECT",
        "INSERT INTO decisions (artifact_id) VALUES (1)", "UPDATE waivers SET reason = ''",
        "SELECT secret_check FROM webhooks", "DROP TABLE events",
    ),
    "reader": (
        "SELECT password_hash FROM users", "SELECT * FROM api_keys", "SELECT * FROM webhooks",
        "SELECT * FROM interactions", "SELECT data_key FROM ingestion_runs",
        "SELECT lock FROM requests", "SELECT parameters FROM task_inputs",
        "UPDATE package_status SET status = 'Published'", "DELETE FROM attempts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("part", REFUSED)
def test_a_role_is_refused_what_is_not_its_own(part: str, parts: Mapping[str, Engine]) -> None:
    for statement in REFUSED[part]:
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            run(parts[f"lockkeeper_{part}"], statement)


@pytest.mark.parametrize(
    ("part", "command"),
    [
        ("api", ("user", "add", "zoe")),
        ("maintenance", ("audit", "checkpoint")),
        ("maintenance", ("advisories", "import", "ADVISORY")),
        ("maintenance", ("advisories", "status")),
    ],
)
def test_commands_that_use_the_database_do_as_a_role(
    part: str, command: tuple[str, ...], parts: Mapping[str, Engine], tmp_path: Path
) -> None:
    advisory = tmp_path / "GHSA-test.json"
    advisory.write_text(json.dumps(ADVISORY))
    url = parts[f"lockkeeper_{part}"].url.render_as_string(hide_password=False)
    words = [str(advisory) if word == "ADVISORY" else word for word in command]

    finished = lockkeeper(*words, env=environment(tmp_path, DATABASE_URL=url))

    assert finished.returncode == 0, finished.stderr
