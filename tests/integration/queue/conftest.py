"""One database with the probe workload's tables beside the product's, emptied for each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, NullPool, Table, create_engine, text

from backend.db import Base, Sessions, make_engine
from backend.queue.attempts import Attempt
from backend.queue.fleet import QueuePause, Worker
from tests.conftest import CreateDatabase
from tests.integration.queue.ledger import Rows
from tests.integration.queue.probe_workload import Effect, Errand, Parcel, Probe

PROBES = [model.metadata.tables[model.__tablename__] for model in (Probe, Errand, Parcel, Effect)]
SHARED = [model.metadata.tables[model.__tablename__] for model in (Attempt, QueuePause, Worker)]


def empty(url: str, tables: list[Table]) -> None:
    names = ", ".join(table.name for table in tables)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))


@pytest.fixture(scope="session")
def probe_database(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    """URL of a database at the newest schema with the probe workload's tables."""
    with create_database(migrated) as url:
        Base.metadata.create_all(create_engine(url, poolclass=NullPool), tables=PROBES)
        yield url


@pytest.fixture
def database_url(probe_database: str) -> str:
    """The probe database, emptied: cheaper by far than one of its own for each test."""
    empty(probe_database, PROBES + SHARED)
    return probe_database


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=20, application_name="lockkeeper-tests")
    yield engine
    engine.dispose()


@pytest.fixture
def rows(sessions: Sessions) -> Rows:
    return Rows(sessions)
