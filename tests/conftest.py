"""What every suite may ask for: a clean environment, outside cases, and fresh databases.

Databases live on the wheel's server, never on a developer's own; a test gets one of its own, copied
from a template that was migrated once.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from backend.db import Sessions, make_engine, make_sessions
from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.migrations.run import upgrade
from backend.queue.reporting import reported_to
from backend.settings import Settings, psycopg2_url
from workers.isolation import IN_MEMORY

REPOSITORY = Path(__file__).resolve().parents[1]
ROOM = 8 * 2**30
"""Bytes that have to be free in memory for the servers of a few pytest workers to lie there."""

CreateDatabase = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session", autouse=True)
def _environment_of_a_stranger() -> Iterator[None]:
    """No variable that Lockkeeper or libpq reads reaches a test from the developer's shell."""
    read = {field.alias for field in Settings.model_fields.values()}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            # LOCKKEEPER_VENV above all: a test of the set-up would remake the one it runs in.
            if name in read or name.startswith(("PG", "LOCKKEEPER_")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _nobody_listens() -> Iterator[None]:
    """Who performs a row in the tests' thread leaves it a listener, for whom that row is gone."""
    with reported_to(None):
        yield


@pytest.fixture(scope="session")
def cases() -> Path:
    """Inputs that nobody on this project wrote; they are kept outside the repository."""
    folder = REPOSITORY.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the outside cases (../shared/cases) are not here")
    return folder


@contextmanager
def open_directory(parent: str | None = None) -> Iterator[Path]:
    """A temporary directory that other users may enter: as root, the server runs as another one.

    pytest's own are closed to them.
    """
    directory = Path(tempfile.mkdtemp(prefix="lockkeeper-tests-", dir=parent)).resolve()
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _in_memory() -> str | None:
    """Where a server may lie that nobody misses after a crash, if there is room for several.

    To copy and drop a database is two thousand files; there are disks on which that takes a second.
    """
    if "TMPDIR" not in os.environ:
        with suppress(OSError):
            free = os.statvfs(IN_MEMORY)
            if free.f_bavail * free.f_frsize >= ROOM and os.access(IN_MEMORY, os.W_OK | os.X_OK):
                return str(IN_MEMORY)
    return None


@pytest.fixture(scope="session")
def postgres(_environment_of_a_stranger: None) -> Iterator[str]:
    """URL of a throw-away server with the wheel's binaries; its role may create databases."""
    with open_directory(_in_memory()) as directory:
        data_dir = directory / "data"
        with EmbeddedPostgres(
            data_dir, durable=False, installations=wheel_installations()
        ) as server:
            yield server.url


@pytest.fixture(scope="session")
def create_database(postgres: str) -> Iterator[CreateDatabase]:
    """Makes a database from the template that is named, as a context that drops it again."""
    numbers = count(1)
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        @contextmanager
        def create(template: str) -> Iterator[str]:
            name = f"test_{next(numbers)}"
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
            try:
                yield psycopg2_url(
                    make_url(postgres).set(database=name).render_as_string(hide_password=False)
                )
            finally:
                cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

        yield create


@pytest.fixture(scope="session")
def migrated(create_database: CreateDatabase) -> Iterator[str]:
    """Name of a database at the newest schema, to be copied and never used itself."""
    with create_database("template0") as url:
        upgrade(url)
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture
def database_url(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    """A fresh database at the newest schema; the driver is named in its URL."""
    with create_database(migrated) as url:
        yield url


@pytest.fixture
def empty_database_url(create_database: CreateDatabase) -> Iterator[str]:
    """A fresh database without any table; the driver is named in its URL."""
    with create_database("template0") as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, application_name="lockkeeper-tests")
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return make_sessions(engine)
