"""The migrator: many at once, short lock waits, and no step back from a newer schema."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError

from backend.db import Base
from backend.migrations import run

Write = Callable[[str, str | None, str], None]


@pytest.fixture
def write_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Puts a migration (name, the one before it, SQL) into a history that replaces our own."""
    monkeypatch.setattr(run, "VERSIONS", tmp_path)

    def write(revision: str, after: str | None, statement: str) -> None:
        (tmp_path / f"{revision}.py").write_text(
            f"from alembic import op\n"
            f"revision = {revision!r}\ndown_revision = {after!r}\n"
            f"def upgrade():\n    op.execute({statement!r})\n"
        )

    return write


@pytest.fixture
def two_migrations(write_migration: Write) -> None:
    write_migration("first", None, "CREATE TABLE things (id int)")
    write_migration("second", "first", "ALTER TABLE things ADD COLUMN name text")


@pytest.fixture
def observer(empty_database_url: str) -> Engine:
    return create_engine(empty_database_url, poolclass=NullPool)


def columns(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        statement = "SELECT attname FROM pg_attribute WHERE attrelid = 'things'::regclass"
        return list(connection.scalars(text(f"{statement} AND attnum > 0 ORDER BY attnum")))


def test_the_migrated_schema_is_the_one_that_the_models_declare(engine: Engine) -> None:
    declared = run.target_metadata()
    ours = {
        mapper.local_table
        for mapper in Base.registry.mappers
        if mapper.class_.__module__.startswith("backend.")
    }

    def counts(item: object, _name: str | None, kind: str, reflected: bool, _other: object) -> bool:
        return kind != "table" or reflected or item in ours  # tests declare tables of their own

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": counts}
        )

        assert compare_metadata(context, declared) == []


def test_a_migrated_database_is_at_the_head_of_this_release(database_url: str) -> None:
    assert run.current(database_url) == run.head()


def test_an_upgrade_applies_what_is_missing_and_a_second_one_nothing(
    two_migrations: None, empty_database_url: str, observer: Engine
) -> None:
    assert run.current(empty_database_url) is None

    run.upgrade(empty_database_url)
    run.upgrade(empty_database_url)

    assert run.current(empty_database_url) == run.head() == "second"
    assert columns(observer) == ["id", "name"]


def test_a_url_without_a_driver_is_understood(
    two_migrations: None, empty_database_url: str
) -> None:
    run.upgrade(empty_database_url.replace("+psycopg2", ""))

    assert run.current(empty_database_url) == "second"


def test_many_migrators_at_once_apply_each_migration_once(
    two_migrations: None, empty_database_url: str, observer: Engine
) -> None:
    together = threading.Barrier(4)

    def migrate(_: int) -> None:
        together.wait()
        run.upgrade(empty_database_url)

    with ThreadPoolExecutor(4) as migrators:
        list(migrators.map(migrate, range(4)))

    assert columns(observer) == ["id", "name"]


def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_its_own(
    write_migration: Write, empty_database_url: str, observer: Engine
) -> None:
    write_migration("first", None, "CREATE TABLE things (id int)")
    write_migration("bad", "first", "ALTER TABLE things ADD COLUMN name text; SELECT nonsense")

    with pytest.raises(ProgrammingError):
        run.upgrade(empty_database_url)

    assert run.current(empty_database_url) == "first"
    assert columns(observer) == ["id"]


def test_a_database_that_is_newer_than_this_release_is_refused(
    two_migrations: None, empty_database_url: str, tmp_path: Path, observer: Engine
) -> None:
    run.upgrade(empty_database_url)
    (tmp_path / "second.py").unlink()

    with pytest.raises(run.MigrationError, match=r"revision second, which this release does not"):
        run.upgrade(empty_database_url)

    assert columns(observer) == ["id", "name"]


def test_a_locked_table_is_given_way_to_and_tried_again(
    write_migration: Write,
    empty_database_url: str,
    observer: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_migration("first", None, "CREATE TABLE things (id int)")
    run.upgrade(empty_database_url)
    write_migration("second", "first", "ALTER TABLE things ADD COLUMN name text")
    monkeypatch.setattr(run, "_LOCK_TIMEOUT", "10ms")
    pauses: list[float] = []
    with observer.connect() as holder:
        holder.execute(text("LOCK TABLE things"))

        def let_go(pause: float) -> None:
            pauses.append(pause)
            holder.rollback()

        monkeypatch.setattr("backend.migrations.run.time.sleep", let_go)
        run.upgrade(empty_database_url)

    assert len(pauses) == 1
    assert columns(observer) == ["id", "name"]


def test_a_table_that_stays_locked_is_reported_and_nothing_waits_for_ever(
    write_migration: Write,
    empty_database_url: str,
    observer: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_migration("first", None, "CREATE TABLE things (id int)")
    run.upgrade(empty_database_url)
    write_migration("second", "first", "ALTER TABLE things ADD COLUMN name text")
    monkeypatch.setattr(run, "_LOCK_TIMEOUT", "10ms")
    monkeypatch.setattr(run, "_PAUSE", 0.0)
    with observer.connect() as holder:
        holder.execute(text("LOCK TABLE things"))

        with pytest.raises(run.MigrationError, match="stayed locked through 10 attempts"):
            run.upgrade(empty_database_url)

    assert run.current(empty_database_url) == "first"


def test_another_migrator_that_does_not_finish_is_reported(
    two_migrations: None,
    empty_database_url: str,
    observer: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_TURN_TIMEOUT", "10ms")
    with observer.begin() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({run._ADVISORY_LOCK})"))

        with pytest.raises(run.MigrationError, match="another migrator has been at work"):
            run.upgrade(empty_database_url)

    assert run.current(empty_database_url) is None
