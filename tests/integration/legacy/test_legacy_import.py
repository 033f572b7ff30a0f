"""``import legacy``: ids, history and unfinished rows, once, all of it or nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text

from backend.db import Sessions
from backend.identity.roles import Principal, Role
from backend.workloads.packages.approval import approve
from backend.workloads.packages.legacy import LegacyError, Taken, import_legacy
from backend.workloads.packages.legacy.importing import Counted
from tests.command_line import environment, error_line, lockkeeper
from tests.conftest import CreateDatabase
from tests.integration.legacy import predecessor
from tests.integration.legacy.predecessor import HELD, SHA512, STATUSES


@pytest.fixture
def legacy_url(empty_database_url: str) -> str:
    predecessor.create(empty_database_url)
    return empty_database_url


@contextmanager
def written(url: str) -> Iterator[Any]:
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection:
        yield connection.cursor()


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


EVERYTHING = ("users", "requests", "packages", "artifacts", "package_status", "audit_log",
    "request_packages", "decisions", "security_scans", "supported_licenses")  # fmt: skip


def counts(engine: Engine) -> list[int]:
    return [rows(engine, f"SELECT count(*) FROM {table}")[0][0] for table in EVERYTHING]


def test_ids_words_and_people_are_kept_and_what_was_held_is_vetted_anew(
    engine: Engine, legacy_url: str
) -> None:
    taken = import_legacy(engine, legacy_url, dry_run=False)

    stands = {
        **dict.fromkeys(("Requested", *HELD, "Submitted", "Licence Checked"), "Requested"),
        "Security Scanned": "Requested",
        "Nonsense": "Requested",
        "Download Failed": "Rejected",
        **{word: word for word in ("Pending Approval", "Approved", "Rejected", "Recalled")},
    }
    assert {s.there: s.here for s in taken.statuses} == stands
    assert rows(engine, "SELECT id, status FROM package_status ORDER BY id") == [
        (number, stands[word]) for number, word in enumerate(STATUSES, 101)
    ]
    assert rows(engine, "SELECT id FROM packages ORDER BY 1") == [
        (number,) for number, _ in enumerate(STATUSES, 101)
    ]
    assert rows(
        engine,
        "SELECT r.id, application_name, version, username, lock_format, entries,"
        " to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
        " FROM requests r JOIN users u ON u.id = requestor_id",
    ) == [(7, "shop", "1.2.3", "uwe", "npm-lock-v3", len(STATUSES), "2024-05-06 07:08:09")]
    assert rows(engine, "SELECT id, username, role FROM users ORDER BY id") == [
        (1, "root", "admin"), (2, "ann-approves", "approver"), (3, "uwe", "user"),
    ]  # fmt: skip
    (lock,) = rows(engine, "SELECT convert_from(lock, 'UTF8') FROM requests")[0]
    assert "pass" not in lock
    assert rows(engine, "SELECT id, integrity FROM artifacts WHERE integrity <> ''") == [
        (101, SHA512)
    ]


@pytest.mark.slow
def test_new_rows_get_numbers_beyond_those_that_were_kept(engine: Engine, legacy_url: str) -> None:
    import_legacy(engine, legacy_url, dry_run=False)

    run(engine, "INSERT INTO users (username, password_hash, role) VALUES ('new', 'x', 'user')")
    run(
        engine, "INSERT INTO packages (ecosystem, name, version, purl) VALUES ('npm', 'z', '1', '')"
    )

    assert rows(engine, "SELECT id > 3 FROM users WHERE username = 'new'") == [(True,)]
    assert rows(engine, "SELECT id > 115 FROM packages WHERE name = 'z'") == [(True,)]


def test_a_second_import_adds_only_what_came_since_and_changes_nothing(
    engine: Engine, legacy_url: str
) -> None:
    with written(legacy_url) as cursor:
        cursor.execute(
            "INSERT INTO audit_log (id, user_id, action, resource_type, resource_id, details,"
            " created_at) VALUES (5, 2, 'Approve Package', 'package', 112, 'why', '2024-05-07')"
        )
        cursor.execute(
            "INSERT INTO security_scans (package_id, high_count, trivy_version, scan_result,"
            " completed_at) VALUES (111, 1, '0.50', %s, '2024-05-07')",
            [json.dumps({"Results": [{"Vulnerabilities": [
                {"VulnerabilityID": "CVE-2024-1", "Severity": "HIGH", "PkgName": "package-111"}
            ]}]})],
        )  # fmt: skip
    import_legacy(engine, legacy_url, dry_run=False)
    before = counts(engine)

    again = import_legacy(engine, legacy_url, dry_run=False)

    assert [table.imported for table in again.tables.values()] == [0] * len(again.tables)
    assert counts(engine) == before
    with written(legacy_url) as cursor:
        predecessor.package(cursor, 200, "Requested")
        cursor.execute("UPDATE package_status SET status = 'Approved' WHERE package_id = 101")
    run(engine, "UPDATE package_status SET priority = 9 WHERE id = 101")

    third = import_legacy(engine, legacy_url, dry_run=False)

    assert third.tables["packages"] == Counted(len(STATUSES) + 1, 1, len(STATUSES), 0)
    assert rows(engine, "SELECT status, priority FROM package_status WHERE id IN (101, 200)"
                        " ORDER BY id") == [("Requested", 9), ("Requested", 5)]  # fmt: skip
    assert rows(engine, "SELECT notes FROM security_scans") == [
        (["before the move trivy 0.50 found 1 high", "CVE-2024-1 HIGH package-111"],)
    ]
    entry = "SELECT id, actor_id, subject, detail FROM audit_log WHERE action LIKE 'legacy.%'"
    assert rows(engine, entry) == [
        (5, 2, "package:112", {"legacy_id": 5, "legacy_resource": 112, "details": "why"})
    ]


@pytest.mark.slow
def test_a_dry_run_tells_the_same_and_writes_nothing(engine: Engine, legacy_url: str) -> None:
    before = counts(engine)

    told = import_legacy(engine, legacy_url, dry_run=True)

    assert counts(engine) == before
    assert import_legacy(engine, legacy_url, dry_run=False) == told


@pytest.mark.slow
def test_numbers_that_are_taken_are_others_here_and_every_reference_follows(
    engine: Engine, legacy_url: str
) -> None:
    run(engine, "INSERT INTO users (id, username, password_hash, role) OVERRIDING SYSTEM VALUE"
                " VALUES (3, 'ours', 'x', 'user'), (9, 'ROOT', 'x', 'user')")  # fmt: skip
    run(engine, "INSERT INTO requests (id, application_name, version, requestor_id, lock_format,"
                " lock, entries) VALUES (7, 'other', '1', 3, 'npm-lock-v3', '', 0)")  # fmt: skip
    run(engine, "INSERT INTO packages (id, ecosystem, name, version, purl)"
                " VALUES (101, 'npm', 'other', '1.0.0', 'pkg:npm/other@1.0.0')")  # fmt: skip

    taken = import_legacy(engine, legacy_url, dry_run=False)

    assert taken.tables["users"] == Counted(3, 2, 1, 0)
    names = (
        "SELECT p.name FROM package_status s JOIN artifacts a ON a.id = artifact_id"
        " JOIN packages p ON p.id = package_id WHERE s.id = 101"
    )
    assert rows(engine, names) == [("package-101",)]
    assert rows(
        engine,
        "SELECT username, (SELECT count(*) FROM request_packages w WHERE w.request_id = r.id)"
        " FROM requests r JOIN users u ON u.id = requestor_id WHERE application_name = 'shop'",
    ) == [("uwe", len(STATUSES))]
    assert rows(engine, "SELECT role FROM users WHERE id = 9") == [("user",)]  # ours stays


def test_an_approval_is_kept_only_where_somebody_gave_it_who_may(
    engine: Engine, legacy_url: str
) -> None:
    with written(legacy_url) as cursor:
        predecessor.package(cursor, 201, "Approved", approver_id=3)  # no approver
        predecessor.package(cursor, 202, "Approved")  # nobody
        predecessor.package(cursor, 203, "Approved", approver_id=2, publish_status="published")
        predecessor.package(cursor, 204, "Rejected", rejector_id=2)
        cursor.execute("INSERT INTO requests VALUES (8, 'own', '1', 2, 'not a lock')")
        predecessor.package(cursor, 205, "Approved", request=8, approver_id=2)  # their own

    taken = import_legacy(engine, legacy_url, dry_run=False)

    found = rows(engine, "SELECT id, status, failure FROM package_status WHERE id > 200 ORDER BY 1")
    waits = "Pending Approval"
    assert found == [
        (201, waits, None), (202, waits, None), (203, "Published", None),
        (204, "Rejected", "human"), (205, waits, None),
    ]  # fmt: skip
    assert taken.notes["approvals by nobody who may approve here: they wait for one"] == 3
    assert taken.left_out["decisions"] == {"by nobody who may decide here": 1}


@pytest.mark.slow
def test_what_was_approved_there_is_published_by_nobody_before_its_bytes_are_seen(
    engine: Engine, sessions: Sessions, legacy_url: str
) -> None:
    import_legacy(engine, legacy_url, dry_run=False)
    (waiting,) = [n for n, word in enumerate(STATUSES, 101) if word == "Pending Approval"]
    (approved,) = [n for n, word in enumerate(STATUSES, 101) if word == "Approved"]
    by = Principal(id=2, username="ann-approves", role=Role.APPROVER)

    with sessions.begin() as session:
        decided = approve(session, [waiting], {}, by=by, reason=None, publish=False)

    assert [undone.code for undone in decided.failed] == ["verdict-missing"]
    assert rows(
        engine,
        f"SELECT available_at = 'infinity' FROM package_status WHERE id = {approved}",
    ) == [(True,)]


def test_what_has_no_place_here_is_told_with_its_reason_and_the_counts_balance(
    engine: Engine, legacy_url: str
) -> None:
    with written(legacy_url) as cursor:
        predecessor.package(cursor, 301, "Requested", name="../../etc/passwd")
        cursor.execute("INSERT INTO packages (id, name, version) VALUES (302, 'unbegun', '2.0.0')")
        cursor.execute("INSERT INTO request_packages VALUES (7, 302)")
        cursor.execute("INSERT INTO requests VALUES (9, 'orphan', '1', NULL, NULL)")
        cursor.execute("INSERT INTO supported_licenses (name, identifier, status) VALUES"
                       " ('MIT', 'MIT', 'blocked'), ('?', '<script>', 'allowed')")  # fmt: skip
        cursor.execute("INSERT INTO users (id, username, role) VALUES (4, 'UWE', 'owner')")
        cursor.execute("INSERT INTO repository_config (config_key) VALUES ('source')")

    taken = import_legacy(engine, legacy_url, dry_run=False)

    assert taken.left_out["packages"] == {"npm allows no such name and version": 1}
    assert taken.ignored == {"repository_config": 1}
    assert rows(engine, "SELECT reason FROM request_exclusions") == [("invalid-name",)]
    assert rows(engine, "SELECT status FROM package_status s JOIN artifacts a ON a.id = artifact_id"
                        " WHERE package_id = 302") == [("Requested",)]  # fmt: skip
    assert rows(engine, "SELECT username, role, active FROM users WHERE id > 3 ORDER BY id") == [
        ("UWE-4", "user", True), ("legacy-unknown", "user", False),
    ]  # fmt: skip
    assert rows(engine, "SELECT status FROM supported_licenses WHERE identifier = 'MIT'") != [
        ("blocked",)
    ]
    _balance(taken)


def _balance(taken: Taken) -> None:
    for table in taken.tables.values():
        assert table.there == table.imported + table.known + table.left_out


@pytest.mark.slow
def test_a_database_that_is_no_predecessors_is_refused(
    engine: Engine, database_url: str, create_database: CreateDatabase
) -> None:
    with pytest.raises(LegacyError, match="pg_dump"):
        import_legacy(engine, database_url, dry_run=False)
    with create_database("template0") as empty, pytest.raises(LegacyError, match="no table users"):
        import_legacy(engine, empty, dry_run=False)


@pytest.mark.slow
def test_the_command_shows_both_sides_and_hides_passwords(
    database_url: str, legacy_url: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, DATABASE_URL=database_url)
    nowhere = "postgresql://me:pass-phrase@127.0.0.1:9/nothing"

    shown = lockkeeper("import", "legacy", "--from", legacy_url, "--dry-run", env=env)
    done = lockkeeper("import", "legacy", "--from", legacy_url, "--json", env=env)
    failed = lockkeeper("import", "legacy", "--from", nowhere, env=env)

    assert shown.returncode == 0, shown.stderr
    assert "Publishing → Requested: 1 package" in shown.stdout
    assert "nothing was written" in shown.stdout
    assert json.loads(done.stdout)["tables"]["packages"]["imported"] == len(STATUSES)
    assert failed.returncode == 3
    assert "pass-phrase" not in error_line(failed)
