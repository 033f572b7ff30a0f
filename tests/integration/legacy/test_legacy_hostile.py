"""``import legacy`` from databases that are broken, or were filled by somebody who means harm."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine, text

from backend.workloads.packages.legacy import LegacyError, import_legacy
from tests.command_line import environment, lockkeeper
from tests.conftest import CreateDatabase
from tests.integration.legacy import predecessor
from tests.integration.legacy.predecessor import STATUSES
from tests.integration.packages.house import wait_until


def plain(url: str) -> str:
    return url.replace("+psycopg2", "")


def alter(url: str, *statements: str) -> None:
    with closing(psycopg2.connect(plain(url))) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


@pytest.fixture
def legacy_url(empty_database_url: str) -> str:
    predecessor.create(empty_database_url)
    return empty_database_url


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


# Whatever tables without their constraints may hold: each alone stopped the whole import once.
BROKEN = r"""
ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE, ALTER username DROP NOT NULL;
ALTER TABLE requests DROP CONSTRAINT requests_pkey CASCADE;
ALTER TABLE requests ALTER raw_request_blob TYPE json USING raw_request_blob::json;
ALTER TABLE packages DROP CONSTRAINT packages_pkey CASCADE, ALTER id DROP NOT NULL;
ALTER TABLE packages DROP CONSTRAINT packages_name_version_key;
ALTER TABLE package_status ALTER license_score TYPE boolean USING true;
ALTER TABLE package_status ALTER security_score TYPE numeric;
ALTER TABLE security_scans ALTER scan_result TYPE json;
ALTER TABLE audit_log ALTER resource_type TYPE text;
CREATE TABLE artifacts (id int, package_id int, integrity text);
INSERT INTO artifacts VALUES (102, 101, ''), (103, 101, ''), (103, 101, ''), (9, 999, '');
INSERT INTO users (id, username, created_at) VALUES (3, 'second', now()), (-1, 'minus', now()),
  (40, 'UWE', '-infinity'), (41, 'uwe-40', now()), (42, NULL, NULL), (43, '@root', now()),
  (44, repeat('long', 60), now()), (45, repeat('long', 61), now()),
  (46, 'legacy-unknown', now());
INSERT INTO requests VALUES (7, 'again', '1', 3, '{}', now()), (8, 'no one', '1', 999, NULL, NULL),
  (9, 'nul', '1', 3, '{"lockfileVersion": 3, "x": "\u0000\ud800"}', '0044-03-15 BC'),
  (10, 'deep', '1', 3, (repeat('[', 3000) || repeat(']', 3000))::json, now());
INSERT INTO packages (id, name, version) VALUES (101, 'twice', '1.0.0'),
  (NULL, 'unnumbered', '1.0.0'), (300, 'package-102', '1.0.0');
INSERT INTO package_status (package_id, status, security_score) VALUES
  (999, 'Approved', 10::numeric ^ 5000), (300, 'Approved', 'NaN');
INSERT INTO supported_licenses (name, identifier, status) VALUES
  ('Foo', 'Foo-1', 'allowed'), ('Foo', 'Foo-1', 'blocked'), (NULL, 'Foo-2', 'allowed');
INSERT INTO security_scans (package_id, created_at, scan_result) VALUES (999, now(), NULL),
  (101, NULL, '{"Results": [{"Vulnerabilities": [{"VulnerabilityID": "a\u0000b\ud800"}]}]}');
INSERT INTO audit_log (action, resource_type, created_at) VALUES ('x', 'package', NULL);
INSERT INTO audit_log (action, resource_type)
SELECT 'x', string_agg(md5(g::text), '') FROM generate_series(1, 500) g;
INSERT INTO request_packages VALUES (7, 999), (999, 101), (9, 101);
"""


def test_a_broken_database_is_taken_over_as_far_as_it_goes_and_the_rest_is_told(
    engine: Engine, legacy_url: str
) -> None:
    alter(legacy_url, BROKEN)

    taken = import_legacy(engine, legacy_url, dry_run=False)

    again = {"another row has its number": 1}
    assert taken.left_out == {
        "artifacts": {**again, "of a package that is not there": 1},
        "package_status": {
            "another row is about the same bytes": 1, "of a package that is not there": 1,
        },
        "packages": {
            **again, "another row has its name and version: they are one here": 1,
            "it has no number": 1,
        },
        "request_packages": {
            "of a package that is not there": 1, "of a request that is not there": 1,
        },
        "requests": again,
        "security_scans": {"of a package that is not there": 1},
        "supported_licenses": {"another row has its identifier": 1},
        "users": {**again, "it has no number": 1},
    }  # fmt: skip
    named = "SELECT id, username, active FROM users WHERE id > 3 ORDER BY id"
    assert rows(engine, named) == [
        (40, "UWE-40", True), (41, "uwe-40-41", True), (42, "user-42", True), (43, "root-43", True),
        (44, "long" * 16, True), (45, f"{('long' * 8)[:30]}-45", True),
        (46, "legacy-unknown-46", True), (47, "legacy-unknown", False),
    ]  # fmt: skip
    assert rows(engine, "SELECT id, lock_format FROM requests ORDER BY id") == [
        (7, "npm-lock-v3"), (8, "unknown"), (9, "npm-lock-v3"), (10, "unknown"),
    ]  # fmt: skip
    assert rows(engine, "SELECT notes[2] FROM security_scans") == [("a\ufffdb?",)]
    second = import_legacy(engine, legacy_url, dry_run=False)
    assert {name: table.imported for name, table in second.tables.items() if table.imported} == {}


def test_nobody_becomes_an_account_of_this_house_by_a_name_that_is_only_like_it(
    engine: Engine, legacy_url: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO users (id, username, password_hash, role) OVERRIDING SYSTEM VALUE VALUES"
            " (70, 'boss', 'x', 'admin'), (71, 'legacy-unknown', 'x', 'admin')"
        ))  # fmt: skip
    alter(
        legacy_url,
        "INSERT INTO users (id, username, role) VALUES (50, ' boss', 'approver')",
        "UPDATE requests SET requestor_id = 50",
        "UPDATE package_status SET approver_id = 50 WHERE status = 'Approved'",
    )

    for _ in range(2):
        import_legacy(engine, legacy_url, dry_run=False)

    found = rows(engine, "SELECT id, username, role FROM users WHERE username ~ 'boss' ORDER BY 1")
    assert found == [(50, "boss-50", "approver"), (70, "boss", "admin")]
    assert rows(engine, "SELECT DISTINCT requestor_id FROM requests") == [(50,)]


def test_what_is_not_ours_to_read_is_not_counted_and_stops_nothing(
    engine: Engine, legacy_url: str
) -> None:
    alter(legacy_url, "CREATE TABLE other (id int)", "REVOKE ALL ON other FROM CURRENT_USER")

    taken = import_legacy(engine, legacy_url, dry_run=True)

    assert "other" not in taken.ignored
    assert taken.tables["packages"].imported == len(STATUSES)


def sequences(engine: Engine) -> dict[object, object]:
    found = rows(engine, "SELECT sequencename, last_value FROM pg_sequences")
    return {row[0]: row[1] for row in found}


@pytest.mark.slow
def test_a_dry_run_leaves_numbers_as_they_were(engine: Engine, legacy_url: str) -> None:
    alter(legacy_url, "INSERT INTO users (id, username) VALUES (1000000000, 'far')")
    before = sequences(engine)

    import_legacy(engine, legacy_url, dry_run=True)

    after = sequences(engine)
    numbered = ("users", "supported_licenses", "requests", "packages", "artifacts",
                "package_status", "audit_log")  # fmt: skip
    for table in numbered:
        assert after[f"{table}_id_seq"] == before[f"{table}_id_seq"], table


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_an_import_that_is_killed_leaves_nothing_and_is_done_anew(
    engine: Engine, database_url: str, legacy_url: str, tmp_path: Path
) -> None:
    """Killed when it has written nearly everything: somebody holds back its last table."""
    env = environment(tmp_path, DATABASE_URL=database_url)
    alter(
        legacy_url,
        "INSERT INTO audit_log (action, resource_type) VALUES ('x', 'package')",
    )
    command = [sys.executable, "-P", "-m", "backend.cli", "import", "legacy", "--from", legacy_url]
    there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lockkeeper-import'"
    waits = f"{there} AND wait_event_type = 'Lock'"
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE audit_log IN EXCLUSIVE MODE"))
        with subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: rows(engine, waits) == [(1,)], seconds=60, what="it waits")
            process.send_signal(signal.SIGKILL)
        holder.rollback()
    wait_until(lambda: rows(engine, there) == [(0,)], seconds=30, what="the server noticed")
    assert rows(engine, "SELECT count(*) FROM packages") == [(0,)]

    done = lockkeeper("import", "legacy", "--from", legacy_url, env=env)

    assert done.returncode == 0, done.stderr
    assert rows(engine, "SELECT count(*) FROM packages") == [(len(STATUSES),)]


@pytest.mark.slow
def test_text_in_no_encoding_is_told_in_one_line(
    engine: Engine, create_database: CreateDatabase, postgres: str
) -> None:
    with closing(psycopg2.connect(plain(postgres))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE DATABASE no_encoding TEMPLATE template0"
                       " ENCODING 'SQL_ASCII' LOCALE 'C'")  # fmt: skip
        url = postgres.rpartition("/")[0] + "/no_encoding"
        try:
            predecessor.create(url)
            alter(url, "INSERT INTO users (id, username) VALUES (9, E'jos\\xe9')")
            with pytest.raises(LegacyError, match="invalid byte sequence") as refused:
                import_legacy(engine, url, dry_run=False)
        finally:
            cursor.execute("DROP DATABASE no_encoding WITH (FORCE)")
    assert not refused.value.unreachable


@pytest.mark.slow
def test_a_url_that_is_none_is_told_as_what_it_is(database_url: str, tmp_path: Path) -> None:
    env = environment(tmp_path, DATABASE_URL=database_url)

    told = lockkeeper("import", "legacy", "--from", "mysql://me:pass-phrase@h/n", env=env)

    assert told.returncode == 2
    assert "the predecessor's" in told.stderr
    assert "pass-phrase" not in told.stderr
