"""Databases that hold the probe workload's tables beside the product's."""

from collections.abc import Iterator

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url

from backend.db import Base, Sessions
from tests.conftest import CreateDatabase
from tests.integration.queue.probe_workload import TABLES
from tests.integration.queue.ledger import Rows


@pytest.fixture(scope="session")
def migrated(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    """Name of a template: the newest schema and the probe workload's tables."""
    with create_database(migrated) as url:
        engine = create_engine(url, poolclass=NullPool)
        Base.metadata.create_all(engine, tables=TABLES)  # type: ignore[arg-type] # FromClause
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture
def rows(sessions: Sessions) -> Rows:
    return Rows(sessions)
