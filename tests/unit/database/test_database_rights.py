"""The table of rights: it knows every table, and gives no worker what is not its own."""

import re

import pytest

from backend.database_roles import rights
from backend.database_roles.granting import parsed
from backend.database_roles.rights import API, MAINTENANCE, PUBLISHER, READER, WORKERS
from backend.db import Base, table_of
from backend.migrations import run

WRITES = {"INSERT", "UPDATE", "DELETE"}
BY_TRIGGERS = {"audit_actors", "audit_checkpoints"}
"""Written by functions that run as their owner."""
BESIDE_THE_MODELS = {"alembic_version", "attempts_default"}


def declared() -> dict[str, set[str]]:
    """Columns by table, as the models of this release declare them."""
    run.target_metadata()
    models = [mapper.class_ for mapper in Base.registry.mappers]
    tables = [table_of(m) for m in models if m.__module__.startswith("backend.")]
    return {table.name: {column.name for column in table.columns} for table in tables}


def on(role: str, table: str) -> set[tuple[str, str]]:
    """Privileges and the columns they are for."""
    return set(parsed(rights.TABLES[role].get(table, "")))


def written(role: str, table: str) -> set[tuple[str, str]]:
    return {(word, column) for word, column in on(role, table) if word in WRITES}


def test_every_table_is_somebodys_to_write_and_somebodys_to_read() -> None:
    for table in declared().keys() - BY_TRIGGERS:
        rights_on = {word for role in rights.PARTS for word, _ in on(role, table)}
        assert {"SELECT", "INSERT"} <= rights_on, (
            f"{table}: no role may use it: see backend/database_roles/rights.py"
        )


def test_no_right_is_on_what_there_is_not() -> None:
    tables = declared()
    for role in rights.PARTS:
        assert rights.TABLES[role].keys() <= tables.keys() | BESIDE_THE_MODELS
        for table in rights.TABLES[role].keys() & tables.keys():
            columns = {column for _, column in on(role, table)} - {""}
            assert columns <= tables[table], f"{role} on {table}"


@pytest.mark.parametrize("role", WORKERS)
@pytest.mark.parametrize(
    "table",
    [
        "api_keys", "audit_actors", "audit_checkpoints", "decisions", "denied_packages",
        "licence_proposals", "logins", "policy_state", "policy_versions", "queue_pauses",
        "rate_limits", "refresh_tokens", "reviewed_claims", "supported_licenses", "users",
        "webhooks",
    ],
)  # fmt: skip
def test_no_worker_writes_what_people_decide(role: str, table: str) -> None:
    assert written(role, table) == set()


@pytest.mark.parametrize("role", WORKERS)
def test_of_a_waiver_a_worker_only_notes_that_it_began_or_ended(role: str) -> None:
    assert written(role, "waivers") <= {("UPDATE", "applied_at"), ("UPDATE", "ended_at")}


@pytest.mark.parametrize(
    ("table", "roles"),
    [("api_keys", {API}), ("refresh_tokens", {API}), ("logins", {API}), ("rate_limits", {API})],
)
def test_secrets_of_people_are_the_apis(table: str, roles: set[str]) -> None:
    assert {role for role in rights.PARTS if on(role, table)} == roles


def test_a_password_is_read_by_the_api_alone() -> None:
    for role in set(rights.PARTS) - {API}:
        assert on(role, "users") & {("SELECT", ""), ("SELECT", "password_hash")} == set()


def test_only_the_publisher_publishes() -> None:
    for table in ("publications", "publication_turns"):
        assert {role for role in rights.PARTS if written(role, table)} == {PUBLISHER}
        assert {role for role in WORKERS if on(role, table)} == {PUBLISHER}


def test_nobody_removes_audit_entries_and_only_maintenance_may_archive() -> None:
    for role in rights.PARTS:
        for table in ("audit_log", "audit_seals", "audit_checkpoints"):
            assert {word for word, _ in written(role, table)} <= {"INSERT"}
    assert rights.EXECUTE["audit_archive"] == rights.EXECUTE["attempts_drop_week"]
    assert rights.EXECUTE["audit_archive"] == (MAINTENANCE,)


def test_a_reader_writes_nothing_and_calls_nothing() -> None:
    assert {word for table in rights.TABLES[READER] for word, _ in on(READER, table)} == {"SELECT"}
    assert all(READER not in roles for roles in rights.EXECUTE.values())
    assert READER not in rights.SEQUENCES


def test_privileges_are_pairs_of_a_word_and_a_column() -> None:
    assert list(parsed("SELECT (id, role), UPDATE (id), DELETE")) == [
        ("SELECT", "id"), ("SELECT", "role"), ("UPDATE", "id"), ("DELETE", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["select", "SELECT ()", "SELECT;", "SELECT (a b)", "SELECT, ,"])
def test_what_is_no_privilege_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        list(parsed(wrong))
