"""The fixtures that every database test stands on."""

import os

import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from backend.db import Sessions
from backend.embedded import wheel_installations
from backend.settings import Settings


def tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(
            connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        )


def test_a_test_database_lives_on_the_wheels_newest_server(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW server_version_num"))[:2] == str(
            wheel_installations()[0].major
        )


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_a_database_that_no_other_test_wrote_to(
    sessions: Sessions, engine: Engine, turn: int
) -> None:
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE left_behind (turn int)"))

    assert "left_behind" in tables(engine)


def test_an_empty_database_has_no_table(empty_database_url: str) -> None:
    with (
        psycopg2.connect(
            make_url(empty_database_url).set(drivername="postgresql").render_as_string(False)
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone() == (0,)
    connection.close()


def test_no_variable_of_the_developers_shell_reaches_a_test() -> None:
    read = {field.alias for field in Settings.model_fields.values()}

    assert not read & set(os.environ)
    assert not [name for name in os.environ if name.startswith("PG")]
