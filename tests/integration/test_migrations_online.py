"""What a migration does to tables that are in use: as said, and undone as written."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text

from backend.migrations import run
from backend.migrations.online import HOLDS

SHUTS_OUT = re.compile(
    r"ALTER TABLE (?:ONLY )?(\w+)|CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+ ON (\w+)"
    r"|LOCK TABLE (\w+)"
)
READS_ALL = re.compile(
    r"ADD CONSTRAINT (?!.*NOT VALID)|VALIDATE CONSTRAINT|SET NOT NULL|TYPE |^CREATE (UNIQUE )?INDEX"
    r"|^LOCK TABLE"
)


def revisions() -> list[str]:
    scripts = ScriptDirectory.from_config(run._config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


@contextmanager
def told(connection: Connection) -> Iterator[list[str]]:
    """Every statement, on one line; an empty one where a transaction ended."""
    said: list[str] = []

    def statement(_c: object, _cursor: object, sql: str, *_: object) -> None:
        said.append(" ".join(sql.split()))

    event.listen(connection, "before_cursor_execute", statement)
    event.listen(connection, "commit", lambda _: said.append(""))
    yield said


def shut_out(said: list[str], tables: set[str]) -> set[str]:
    """Tables that were there, and that a transaction reads whole while it has them for itself."""
    found: set[str] = set()
    altered: set[str] = set()
    for statement in said:
        if not statement:
            altered.clear()
        if match := SHUTS_OUT.match(statement):
            (table,) = filter(None, match.groups())
            first = table not in altered
            altered.add(table)
            if table in tables and READS_ALL.search(statement):
                # Alone it lets others in; after another change of the table the lock is there.
                if first and "VALIDATE" in statement:
                    continue
                found.add(table)
    return found


@pytest.mark.slow
def test_what_shuts_others_out_for_as_long_as_a_table_is_large_is_named(
    empty_database_url: str,
) -> None:
    engine = create_engine(empty_database_url, poolclass=NullPool)
    named = {}
    for revision in revisions():
        with engine.connect() as connection:
            query = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = set(connection.scalars(query))
        with engine.connect() as connection, told(connection) as said:
            config = run._config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        if found := shut_out(said, tables):
            named[revision] = found

    assert set(named) == set(HOLDS)
    for revision, tables in named.items():
        assert all(table in HOLDS[revision] for table in tables), (revision, tables)


def schema(engine: Engine) -> list[tuple[str, ...]]:
    """Every table, column, constraint, index, trigger and function of ours."""
    query = """
    SELECT 'column', table_name, column_name,
      data_type || is_nullable || coalesce(column_default, '') FROM information_schema.columns
    WHERE table_schema = 'public'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function', proname, pg_get_function_arguments(oid), prosrc
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3, 4
    """
    with engine.connect() as connection:
        return [
            tuple("".join(part.split()) for part in row) for row in connection.execute(text(query))
        ]


@pytest.mark.slow
def test_every_migration_is_undone_to_the_schema_that_was_before_it(
    empty_database_url: str,
) -> None:
    engine = create_engine(empty_database_url, poolclass=NullPool)

    def move(revision: str, *, up: bool) -> None:
        config = run._config()
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(config, revision)

    before: dict[str, list[tuple[str, ...]]] = {}
    for revision in revisions():
        move(revision, up=True)
        before[revision] = schema(engine)
    for revision in reversed(revisions()[:-1]):
        move(revision, up=False)

        left, right = set(schema(engine)), set(before[revision])
        assert left - right == set(), f"left behind on the way to {revision}"
        assert right - left == set(), f"missing on the way to {revision}"
    move("base", up=False)
    assert {row[1] for row in schema(engine)} == {"alembic_version"}
