"""Nobody changes or removes an entry, the tables' owner included; names lie apart from it."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from backend.db import Sessions
from backend.identity.model import XID
from tests.audit_guards import TABLES
from tests.integration.audit.conftest import Note, Seal

CHECKPOINT = """
INSERT INTO audit_checkpoints SELECT id, head, total, now(), head FROM audit_seals WHERE id = 1
"""


def refused(engine: Engine, *statements: str) -> str:
    """What the database says to the last one; none of them is done."""
    with engine.connect() as connection, connection.begin():
        for statement in statements[:-1]:
            connection.execute(text(statement))
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(statements[-1]))
    return str(caught.value.orig)


@pytest.fixture
def sealed(note: Note, seal: Seal) -> None:
    for n in range(2):
        note(f"a:{n}")
        seal()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("deed", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0}"])
def test_the_owner_of_the_tables_is_refused(
    engine: Engine, sealed: None, table: str, deed: str
) -> None:
    column = {"audit_log": "actor", "audit_seals": "head", "audit_checkpoints": "head"}[table]

    assert "only grows" in refused(engine, deed.format(table, column))


@pytest.mark.parametrize(
    "statement",
    [
        """INSERT INTO audit_log (id, actor, action, subject) OVERRIDING SYSTEM VALUE
        VALUES (1, 'x', 'y', 'z') ON CONFLICT (id) DO UPDATE SET actor = 'forged'""",
        "TRUNCATE audit_actors CASCADE",
        """MERGE INTO audit_log USING (SELECT 1 AS id) AS one ON audit_log.id = one.id
        WHEN MATCHED THEN DELETE""",
        "WITH gone AS (DELETE FROM audit_log WHERE id = 1 RETURNING id) SELECT * FROM gone",
    ],
)
def test_no_way_round_leads_past_it(engine: Engine, sealed: None, statement: str) -> None:
    assert "only grows" in refused(engine, statement)


def test_a_deletion_of_nothing_is_refused_like_any_other(engine: Engine) -> None:
    assert "only grows" in refused(engine, "DELETE FROM audit_log WHERE false")


def test_with_a_checkpoint_no_more_goes_than_it_stands_for(engine: Engine, sealed: None) -> None:
    beyond = refused(engine, CHECKPOINT, "DELETE FROM audit_log")
    seals = refused(engine, CHECKPOINT, "DELETE FROM audit_seals")

    assert "only grows" in beyond
    assert "only grows" in seals


def test_an_old_checkpoint_allows_nothing(
    engine: Engine, sessions: Sessions, sealed: None, note: Note, seal: Seal
) -> None:
    with engine.begin() as connection:
        connection.execute(text(CHECKPOINT))

    assert "only grows" in refused(engine, "DELETE FROM audit_log WHERE id = 1")


def test_a_checkpoint_of_no_seal_is_refused(engine: Engine, sealed: None) -> None:
    forged = CHECKPOINT.replace("head, total", "previous, total")

    assert "no seal 1 with this head" in refused(engine, forged)


def test_a_table_that_shadows_the_checkpoints_allows_nothing(engine: Engine, sealed: None) -> None:
    shadow = "CREATE TEMPORARY TABLE audit_checkpoints (seal bigint, xid bigint)"
    allow = f"INSERT INTO audit_checkpoints SELECT 9, {XID}"

    assert "only grows" in refused(engine, shadow, allow, "DELETE FROM audit_log")


def test_to_archive_is_a_right_of_its_own_that_nobody_has_unasked(engine: Engine) -> None:
    """It is granted to a role; no right to delete comes with it, nor is needed."""
    function = "'audit_archive(bigint,bytea,bigint,timestamptz,bytea,bytea,bytea)'"
    with engine.connect() as connection:
        allowed = f"SELECT has_function_privilege('pg_monitor', {function}, 'EXECUTE')"
        secure = f"SELECT prosecdef, proconfig FROM pg_proc WHERE oid = {function}::regprocedure"

        assert connection.execute(text(allowed)).scalar() is False
        assert tuple(connection.execute(text(secure)).one()) == (
            True,
            ["search_path=public, pg_temp"],
        )


def test_an_entry_of_the_release_before_is_taken_without_its_name(
    engine: Engine, sessions: Sessions
) -> None:
    with engine.connect() as connection, connection.begin():
        made = "INSERT INTO users (username, password_hash, role) VALUES ('ada', '!', 'user')"
        user = connection.execute(text(f"{made} RETURNING id")).scalar_one()
        entry = (
            "INSERT INTO audit_log (actor_id, actor, action, subject) VALUES (:id, 'ada', 'x', 'y')"
        )
        found = connection.execute(text(f"{entry} RETURNING actor_id, actor"), {"id": user}).one()

        assert tuple(found) == (user, "")
        connection.rollback()


def test_an_entry_names_only_actors_that_there_are(engine: Engine) -> None:
    entry = "INSERT INTO audit_log (actor_id, action, subject) VALUES (4711, 'x', 'y')"

    assert "fk_audit_log_actor_id_audit_actors" in refused(engine, entry)


def test_a_user_who_is_deleted_leaves_a_pseudonym(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        made = "INSERT INTO users (username, password_hash, role) VALUES ('eve', '!', 'user')"
        user = connection.execute(text(f"{made} RETURNING id")).scalar_one()
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": user})
        actor = "SELECT user_id, name FROM audit_actors WHERE id = :id"
        left = connection.execute(text(actor), {"id": user}).one()

        assert tuple(left) == (None, f"erased-{user}")
        connection.rollback()
