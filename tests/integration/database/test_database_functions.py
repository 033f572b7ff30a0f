"""What the schema has and the table of rights must know of."""

import pytest
from sqlalchemy import Engine, text

from backend.database_roles import granting, rights
from backend.database_roles.catalog import catalog
from backend.workloads.packages.advisories.flagging import STANDING
from backend.workloads.packages.waivers.in_force import IN_FORCE

NOT_TRIGGERS = """
SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
  AND prorettype <> 'trigger'::regtype
"""


def test_every_function_is_granted_to_those_who_call_it_and_named_so(engine: Engine) -> None:
    with engine.connect() as connection:
        assert set(connection.scalars(text(NOT_TRIGGERS))) == set(rights.EXECUTE)


@pytest.mark.parametrize(
    ("function", "condition"), [("flags_shown", STANDING), ("waivers_shown", IN_FORCE)]
)
def test_what_statements_ask_by_themselves_functions_ask_in_the_same_words(
    engine: Engine, function: str, condition: str
) -> None:
    with engine.connect() as connection:
        body = text("SELECT prosrc FROM pg_proc WHERE proname = :name")
        found = connection.scalars(body, {"name": function}).one()

    assert "".join(condition.split()) in "".join(found.split())


def test_every_name_in_the_table_of_rights_is_there(engine: Engine) -> None:
    with engine.connect() as connection:
        owner = connection.scalars(text("SELECT current_user")).one()
        there = catalog(connection, owner)

        for role in rights.PARTS:
            assert rights.TABLES[role].keys() <= set(there.tables)
            assert set(rights.SEQUENCES.get(role, ())) <= set(there.sequences)


def test_a_database_that_was_never_put_under_the_roles_is_left_alone(engine: Engine) -> None:
    with engine.connect() as connection:
        assert not granting.governed(connection)
