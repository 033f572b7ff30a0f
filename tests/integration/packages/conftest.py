"""A house for each test, or one for all tests of a module; each with its own registry and cache."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from backend.db import make_engine
from tests.audit_guards import unguarded
from tests.conftest import CreateDatabase
from tests.integration.packages.house import House
from tests.registry_server import RegistryServer

KEPT = ("alembic_version", "supported_licenses")
"""What the migration filled; the other tables are emptied between two tests."""

EMPTIED = """
SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY'
FROM pg_tables WHERE schemaname = 'public' AND NOT tablename = ANY (%s)
"""

SHIPPED = "digest, document, source, loosens, effective_at"
"""Of the policy that a migration put into force."""


@pytest.fixture(scope="session")
def packages_database(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    with create_database(migrated) as url, _cursor(url) as cursor:
        cursor.execute("CREATE SCHEMA kept")
        cursor.execute("CREATE TABLE kept.licences AS TABLE supported_licenses")
        cursor.execute(f"CREATE TABLE kept.policy AS SELECT {SHIPPED} FROM policy_versions")
        yield url


@pytest.fixture
def database_url(packages_database: str) -> str:
    """One database, emptied: cheaper by far than one of its own for each test."""
    with _cursor(packages_database) as cursor:
        cursor.execute(EMPTIED, ([*KEPT],))
        (empty,) = cursor.fetchone() or ()
        cursor.execute(unguarded(empty))
        cursor.execute("DELETE FROM supported_licenses")
        cursor.execute("INSERT INTO supported_licenses SELECT * FROM kept.licences")
        cursor.execute(f"INSERT INTO policy_versions ({SHIPPED}) TABLE kept.policy")
    return packages_database


@contextmanager
def _cursor(url: str) -> Iterator[psycopg2.extensions.cursor]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(plain)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def house(
    registry: RegistryServer, database_url: str, engine: Engine, tmp_path: Path
) -> Iterator[House]:
    house = House(registry, database_url, engine, tmp_path)
    with house.closing:
        yield house


@pytest.fixture(scope="module")
def busy_house(
    create_database: CreateDatabase, migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """For modules that vet many packages at once and then look at each."""
    with RegistryServer() as registry, create_database(migrated) as url:
        engine = make_engine(url, application_name="lockkeeper-tests")
        house = House(registry, url, engine, tmp_path_factory.mktemp("house"))
        with house.closing:
            yield house
        engine.dispose()
