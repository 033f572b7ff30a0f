"""A login of one part, in the hands of somebody who means harm: it gets no further."""

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from backend.database_roles import rights
from backend.database_roles.founding import found
from backend.database_roles.granting import align, beyond, differences
from backend.db import make_engine
from backend.migrations.run import upgrade
from tests.conftest import open_directory
from tests.role_server import logged_in, role_server

pytestmark = pytest.mark.slow

HOUSE = """
INSERT INTO users (username, password_hash, role)
VALUES ('una', 'x', 'user'), ('ann', 'x', 'admin');
INSERT INTO requests (application_name, version, requestor_id, lock_format, lock, entries)
VALUES ('shop', '1', 1, 'npm-lock-v3', '', 1);
INSERT INTO packages (ecosystem, name, version, purl)
VALUES ('npm', 'a', '1', 'a'), ('npm', 'b', '1', 'b');
INSERT INTO artifacts (package_id, integrity, sha512) VALUES (1, '', 'aa'), (2, '', 'bb');
INSERT INTO package_status (artifact_id, status, max_attempts, completed_at)
VALUES (1, 'Pending Approval', 3, now());
INSERT INTO decisions (artifact_id, decision, decided_by, verdict_digest)
VALUES (1, 'approve', 2, 'seen');
"""
APPROVED = """
UPDATE package_status SET status = 'Approved', completed_at = NULL, verdict_digest = 'seen'
"""
FORGED = """
CREATE TEMP TABLE decisions (id, artifact_id, decision, decided_by, verdict_digest) AS
SELECT 1::bigint, 1::bigint, 'approve', 1::bigint, 'forged';
CREATE TEMP TABLE users (id, active, role) AS SELECT 1::bigint, true, 'admin';
CREATE TEMP TABLE policy_versions (id, effective_at, document) AS
SELECT 1, now(), '{"four_eyes": false}'::jsonb;
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with open_directory() as folder, role_server(folder / "data") as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="module")
def owner(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    with engine.begin() as connection:
        found(connection)
        connection.execute(text(HOUSE))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def parts(owner: Engine, url: str) -> Iterator[Mapping[str, Engine]]:
    with logged_in(owner, url) as engines:
        yield {role.removeprefix("lockkeeper_"): engine for role, engine in engines.items()}


def refused(engine: Engine, *statements: str) -> str:
    """Do all in one transaction, which is undone; answers why the last one was refused."""
    with engine.connect() as connection:
        for statement in statements[:-1]:
            connection.execute(text(statement))
        with pytest.raises(DBAPIError) as why:
            connection.execute(text(statements[-1]))
        connection.rollback()
    return str(why.value.orig).splitlines()[0]


@pytest.mark.parametrize("part", ["vetter", "maintenance", "publisher"])
def test_no_table_of_its_own_makes_a_decision(part: str, parts: Mapping[str, Engine]) -> None:
    forged = APPROVED.replace("seen", "forged")

    assert "nobody who may has approved" in refused(parts[part], FORGED, forged)


def test_nobody_decides_as_a_person_of_a_table_of_its_own(parts: Mapping[str, Engine]) -> None:
    decision = """
    INSERT INTO public.decisions (artifact_id, decision, decided_by) VALUES (1, 'approve', 1)
    """
    assert "no active approver" in refused(parts["api"], decision)
    assert "no active approver" in refused(parts["api"], FORGED, decision)


def test_what_was_approved_are_these_bytes_of_this_package(parts: Mapping[str, Engine]) -> None:
    vetter = parts["vetter"]

    assert "sha512 stays" in refused(vetter, "UPDATE artifacts SET sha512 = 'cc' WHERE id = 1")
    assert "sha512 stays" in refused(vetter, "UPDATE artifacts SET sha512 = NULL WHERE id = 1")
    assert "artifact_id stays" in refused(vetter, "UPDATE package_status SET artifact_id = 2")
    with vetter.connect() as connection:  # the same ones again are what a second look finds
        connection.execute(text("UPDATE artifacts SET sha512 = 'aa', size = 1 WHERE id = 1"))
        connection.rollback()


@pytest.mark.parametrize("part", ["vetter", "maintenance", "api"])
@pytest.mark.parametrize("status", ["Publishing", "Published"])
def test_only_a_publisher_publishes(
    part: str, status: str, parts: Mapping[str, Engine], owner: Engine
) -> None:
    published = (
        f"UPDATE package_status SET status = '{status}', completed_at = now(),"
        " leased_by = 'x', lease_token = gen_random_uuid(), lease_expires_at = now(),"
        " heartbeat_at = now()"
    )

    assert "only a publisher publishes" in refused(parts[part], APPROVED, published)


@pytest.mark.parametrize("part", [p.removeprefix("lockkeeper_") for p in rights.PARTS])
def test_nobody_notes_a_deed_of_another_day_nor_a_worker_one_of_a_person(
    part: str, parts: Mapping[str, Engine]
) -> None:
    given = {"at": "now()", "id": "9", "xid": "1", "actor_id": "2"}
    if part in {"api", "tasks", "maintenance"}:
        del given["actor_id"]
    for column, value in given.items():
        forged = (
            f"INSERT INTO audit_log (action, subject, {column}) VALUES ('a.b', 'user:1', {value})"
        )
        assert "permission denied" in refused(parts[part], forged)


@pytest.mark.parametrize("part", ["api", "vetter", "maintenance", "reader"])
@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE lockkeeper_owner", "SET session_replication_role = replica",
        "ALTER TABLE package_status DISABLE TRIGGER ALL",
        "DROP TRIGGER artifacts_bytes ON artifacts",
        "CREATE FUNCTION decides(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE TABLE public.mine (id int)", "CREATE SCHEMA mine",
        "ALTER FUNCTION decides(bigint) SET search_path = pg_temp",
        "GRANT lockkeeper_owner TO CURRENT_USER",
        "COPY users TO '/tmp/stolen'", "COPY users FROM PROGRAM 'id'",
        "SELECT pg_read_file('PG_VERSION')", "SELECT lo_import('/etc/passwd')",
        "SELECT pg_authid.rolpassword FROM pg_authid",
    ],
)  # fmt: skip
def test_no_part_becomes_another(part: str, statement: str, parts: Mapping[str, Engine]) -> None:
    why = refused(parts[part], statement)

    assert "denied" in why or "must be owner" in why or "ermission" in why


def test_every_function_that_looks_at_tables_looks_at_ours(owner: Engine) -> None:
    """A body that was parsed once names its tables by number; any other goes by a search path."""
    open_ended = """
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NULL
      AND NOT coalesce(proconfig @> ARRAY['search_path=public, pg_temp'], false)
    """
    with owner.connect() as connection:
        assert connection.scalars(text(open_ended)).all() == []


DRIFT = (
    "GRANT SELECT ON users TO PUBLIC",
    "GRANT UPDATE (role) ON users TO PUBLIC",
    "GRANT INSERT ON requests TO lockkeeper_api WITH GRANT OPTION",
    "GRANT DELETE ON users TO of_vetter",
    "GRANT UPDATE ON SEQUENCE attempts_id_seq TO PUBLIC",
)


def test_what_goes_round_the_roles_is_found_and_taken_back(
    owner: Engine, parts: Mapping[str, Engine]
) -> None:
    with owner.begin() as connection:
        for statement in DRIFT:
            connection.execute(text(statement))
    with parts["api"].begin() as connection:
        connection.execute(text("GRANT INSERT ON requests TO lockkeeper_vetter"))

    with owner.begin() as connection:
        found = {tuple(right) for right in differences(connection).superfluous}
        align(connection)
        left = differences(connection)

    assert found == {
        ("PUBLIC", "TABLE", "users", "SELECT", ""),
        ("PUBLIC", "TABLE", "users", "UPDATE", "role"),
        ("lockkeeper_api", "TABLE", "requests", "GRANT OPTION FOR INSERT", ""),
        ("lockkeeper_vetter", "TABLE", "requests", "INSERT", ""),
        ("of_vetter", "TABLE", "users", "DELETE", ""),
        ("PUBLIC", "SEQUENCE", "attempts_id_seq", "UPDATE", ""),
    }
    assert not left


def test_powers_that_no_grant_gives_are_told(owner: Engine, parts: Mapping[str, Engine]) -> None:
    with owner.begin() as connection:
        before = beyond(connection)
        connection.execute(text("CREATE ROLE of_nobody; GRANT of_nobody TO lockkeeper_reader"))
        connection.execute(text("GRANT lockkeeper_owner TO lockkeeper_tasks"))
        connection.execute(text("ALTER ROLE of_api CREATEROLE"))
        told = beyond(connection)
        connection.rollback()

    assert before == []
    assert told == [
        ("lockkeeper_reader", "member of of_nobody"),
        ("lockkeeper_tasks", "member of lockkeeper_owner"),
        ("of_api", "CREATEROLE"),
    ]
