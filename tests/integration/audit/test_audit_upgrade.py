"""A database with entries in it gets the chain, and names leave the log; and back."""

import pytest
from alembic import command
from sqlalchemy import Engine, NullPool, create_engine, text

from backend.audit import sealing
from backend.db import make_sessions
from backend.migrations import run

OLD = """
INSERT INTO users (username, password_hash, role)
  VALUES ('ada', '!', 'user'), ('bob', '!', 'admin');
INSERT INTO audit_log (actor_id, actor, action, subject, detail) VALUES
  (1, 'ada', 'key.created', 'key:1', '{"name": "ci"}'),
  (NULL, 'command line', 'user.created', 'user:2', '{"username": "bob", "role": "admin"}'),
  (2, 'bob', 'queue.paused', 'queue:packages', '{}');
"""
LOG = "SELECT actor_id, actor, action, detail FROM audit_log ORDER BY id"


@pytest.fixture
def old(empty_database_url: str) -> Engine:
    """Of the release before, with two users and three entries."""
    engine = create_engine(empty_database_url, poolclass=NullPool)
    migrate(engine, "0003")
    with engine.begin() as connection:
        connection.execute(text(OLD))
    return engine


def migrate(engine: Engine, revision: str, *, down: bool = False) -> None:
    config = run._config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def test_old_entries_keep_their_deeds_lose_their_names_and_are_sealed(old: Engine) -> None:
    migrate(old, "0004")

    with old.begin() as connection:
        found = [tuple(row) for row in connection.execute(text(LOG))]
        actors = connection.execute(text("SELECT id, user_id, name FROM audit_actors ORDER BY id"))
        assert [tuple(row) for row in actors] == [(1, 1, "ada"), (2, 2, "bob")]
    with make_sessions(old).begin() as session:
        seal = sealing.seal(session, None)
    assert found == [
        (1, "", "key.created", {"name": "ci"}),
        (None, "command line", "user.created", {"role": "admin"}),
        (2, "", "queue.paused", {}),
    ]
    assert seal is not None
    assert seal.entries == [1, 2, 3]

    migrate(old, "0003", down=True)

    with old.begin() as connection:
        names = [tuple(row)[:2] for row in connection.execute(text(LOG))]
    assert names == [(1, "ada"), (None, "command line"), (2, "bob")]
