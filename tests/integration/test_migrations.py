"""The migrator: many at once, short lock waits, and no step back from a newer schema."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError

from backend.db import Base
from backend.migrations import run
from tests.integration.queue.ledger import eventually

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
            connection,
            opts={
                "compare_type": True,
                "include_object": counts,
                "include_name": run.is_declared,
            },
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
    monkeypatch.setattr(run, "_TURN_TIMEOUT", 0.0)
    monkeypatch.setattr(run, "_PAUSE", 0.01)
    with observer.begin() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({run._ADVISORY_LOCK})"))

        with pytest.raises(run.MigrationError, match="another migrator has been at work"):
            run.upgrade(empty_database_url)

    assert run.current(empty_database_url) is None


def test_a_migrator_that_waits_for_another_does_not_keep_it_from_building_an_index(
    two_migrations: None,
    empty_database_url: str,
    observer: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_PAUSE", 0.01)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lockkeeper-migrate'"
    with ThreadPoolExecutor(1) as migrators, observer.connect() as other:
        other.execute(text(f"SELECT pg_advisory_lock({run._ADVISORY_LOCK})"))
        other.execute(text("CREATE TABLE large (id int)"))
        other.commit()
        waits = migrators.submit(run.upgrade, empty_database_url)
        try:
            eventually(lambda: observed(observer, waiting) == 1)
            with observer.connect().execution_options(isolation_level="AUTOCOMMIT") as building:
                building.execute(text("SET statement_timeout = '10s'"))
                building.execute(text("CREATE INDEX CONCURRENTLY ON large (id)"))
        finally:
            other.execute(text("SELECT pg_advisory_unlock_all()"))
        waits.result(30)

    assert run.current(empty_database_url) == "second"


def test_a_database_that_names_two_revisions_is_told_in_one_line(
    two_migrations: None, empty_database_url: str, observer: Engine
) -> None:
    run.upgrade(empty_database_url)
    with observer.begin() as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('first')"))

    with pytest.raises(run.MigrationError, match="alembic_version names first and second"):
        run.pending(empty_database_url)


def observed(observer: Engine, query: str) -> Any:
    with observer.connect() as connection:
        return connection.execute(text(query)).scalar_one()


def migrate(url: str, revision: str, how: Callable[[Config, str], None] = command.upgrade) -> None:
    config = run._config()
    with run._engine(url).connect() as connection:
        config.attributes["connection"] = connection
        how(config, revision)


# As the release before partitions sends it.
OLD_LINE = text(
    "INSERT INTO attempts (queue, row_id, token, worker, attempt, step, outcome, failure, error,"
    " started_at, ended_at) SELECT 'packages', :row_id, gen_random_uuid(), 'w', 1, 'scan', 'done',"
    " CAST(NULL AS TEXT), CAST(NULL AS TEXT), :ended_at, :ended_at RETURNING attempts.id"
)


def test_history_moves_into_weeks_and_back_and_its_ids_go_on(
    empty_database_url: str, observer: Engine
) -> None:
    ends = [datetime(2024, 12, 30, tzinfo=UTC), datetime(2026, 1, 4, 23, 59, tzinfo=UTC)]
    partitions = "SELECT row_id, tableoid::regclass::text FROM attempts ORDER BY row_id"

    def write(row_id: int, ended_at: datetime) -> int:
        with observer.begin() as connection:
            values = {"row_id": row_id, "ended_at": ended_at}
            return int(connection.execute(OLD_LINE, values).scalar_one())

    def lie_in() -> list[tuple[int, str]]:
        with observer.connect() as connection:
            return [(row[0], row[1]) for row in connection.execute(text(partitions))]

    migrate(empty_database_url, "0001")
    ids = [write(n, ended_at) for n, ended_at in enumerate(ends)]

    migrate(empty_database_url, "head")
    ids.append(write(2, ends[0]))
    assert lie_in() == [
        (0, "attempts_2025_w01"), (1, "attempts_2026_w01"), (2, "attempts_2025_w01"),
    ]  # fmt: skip

    migrate(empty_database_url, "0001", command.downgrade)
    ids.append(write(3, ends[1]))
    assert lie_in() == [(n, "attempts") for n in range(4)]

    migrate(empty_database_url, "head")
    assert ids == [1, 2, 3, 4]
    assert [partition for _, partition in lie_in()] == [
        "attempts_2025_w01", "attempts_2026_w01", "attempts_2025_w01", "attempts_2026_w01",
    ]  # fmt: skip


def test_an_attempt_that_ends_while_history_is_moved_is_written_after_it(
    empty_database_url: str, observer: Engine
) -> None:
    migrate(empty_database_url, "0001")
    blocked = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def old_worker() -> None:
        with observer.begin() as connection:
            now = connection.execute(text("SELECT now()")).scalar_one()
            connection.execute(OLD_LINE, {"row_id": 7, "ended_at": now})

    def waits() -> bool:
        with observer.connect() as connection:
            return connection.execute(blocked).first() is not None

    with ThreadPoolExecutor(1) as pool, observer.connect() as connection:
        with connection.begin():
            connection.execute(text("LOCK TABLE attempts"))
            writing = pool.submit(old_worker)
            eventually(waits)
            config = run._config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
        writing.result(10)
        found = connection.execute(text("SELECT row_id, tableoid::regclass::text FROM attempts"))

        row_id, partition = found.one()

    assert row_id == 7
    assert partition.startswith("attempts_2")


def test_an_index_whose_building_was_broken_off_is_built_anew(
    empty_database_url: str, observer: Engine
) -> None:
    name = "ix_package_status_packages_dead"
    migrate(empty_database_url, "0002")
    with observer.begin() as connection:
        connection.execute(text(f"CREATE INDEX {name} ON package_status (id)"))

    migrate(empty_database_url, "0003")

    with observer.connect() as connection:
        built = text("SELECT indexdef FROM pg_indexes WHERE indexname = :name")
        definition = connection.execute(built, {"name": name}).scalar_one()
    assert "(completed_at, id) WHERE" in definition
