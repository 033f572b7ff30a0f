"""A durable PostgreSQL of the benchmark's own, and a fresh database for each cell."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import psycopg2
from sqlalchemy.engine import make_url

from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.migrations.run import upgrade
from backend.settings import psycopg2_url
from tests.benchmark import processor
from tests.benchmark.measures import statements_in
from tests.benchmark.workload import create_table

TEMPLATE: Final = "bench_template"
PATIENCE: Final = 300.0  # seconds for the server's own vacuum to leave a database


class Database:
    """One fresh database. ``plain_url`` is libpq's, ``url`` is SQLAlchemy's."""

    def __init__(self, plain_url: str) -> None:
        self.plain_url = plain_url
        self.url = psycopg2_url(plain_url)
        self._asked: Any = None

    def at(self, port: int) -> "Database":
        """The same one by another way, on this machine."""
        url = make_url(self.plain_url).set(port=port)
        return Database(url.render_as_string(hide_password=False))

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """In autocommit."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            yield cursor

    def value(self, statement: str, parameters: Any = None) -> Any:
        """By a connection that is kept: to connect costs what a batch of rows does, and more."""
        if self._asked is None:
            self._asked = self._connection()
        with self._asked.cursor() as cursor:
            cursor.execute(statement, parameters)
            (value,) = cursor.fetchone()
            return value

    def close(self) -> None:
        if self._asked is not None:
            self._asked.close()

    def _connection(self) -> Any:
        connection = psycopg2.connect(self.plain_url)
        connection.autocommit = True
        return connection


class Server:
    """fsync and synchronous_commit on, everything else as PostgreSQL ships; a context."""

    def __init__(self) -> None:
        self._numbers = 0
        self._template_made = False

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = Path(tempfile.mkdtemp(prefix="lockkeeper-bench-")).resolve()
            resources.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o755)  # as root, the server runs as another user
            self._data = folder / "data"
            self._postgres = EmbeddedPostgres(
                self._data, durable=True, installations=wheel_installations()
            )
            self.admin = Database(resources.enter_context(self._postgres).url)
            resources.callback(self.admin.close)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._resources.close()

    @property
    def version(self) -> str:
        return str(self.admin.value("SHOW server_version"))

    def processor_seconds(self) -> float:
        """Processor time of the server's processes since its start, in seconds."""
        assert self._postgres.pid is not None
        return processor.family_seconds(self._postgres.pid)

    def confined(self, processors: int) -> AbstractContextManager[None]:
        """Within it the server, and what we start, have so many processors."""
        assert self._postgres.pid is not None
        return processor.confined(self._postgres.pid, processors)

    @contextmanager
    def statements_logged(self) -> Iterator[Callable[[], int]]:
        """Within it every statement is logged; yields how many have been so far."""
        configuration, pid = self._data / "postgresql.conf", self._postgres.pid
        assert pid is not None
        usual = configuration.read_text()
        try:
            configuration.write_text(f"{usual}\nlog_statement = 'all'\n")
            os.kill(pid, signal.SIGHUP)
            yield self._logged
        finally:
            configuration.write_text(usual)
            os.kill(pid, signal.SIGHUP)

    def _logged(self) -> int:
        log = self._data.with_name(f"{self._data.name}.log").read_text(errors="replace")
        return statements_in(log)

    @contextmanager
    def empty(self) -> Iterator[Database]:
        """A database without anything in it."""
        with self._database("template1") as database:
            yield database

    @contextmanager
    def migrated(self) -> Iterator[Database]:
        """A database with the product's schema and the benchmark's table."""
        if not self._template_made:
            self._create(TEMPLATE, "template1")
            template = self._named(TEMPLATE)
            upgrade(template.url)
            create_table(template.url)
            self._template_made = True
        with self._database(TEMPLATE) as database:
            yield database

    @contextmanager
    def _database(self, template: str) -> Iterator[Database]:
        self._numbers += 1
        name = f"bench_{self._numbers}"
        self._create(name, template)
        try:
            with closing(self._named(name)) as database:
                yield database
        finally:
            self._patiently(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _create(self, name: str, template: str) -> None:
        self._patiently(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def _patiently(self, statement: str) -> None:
        """Repeat what a vacuum in progress forbids."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.admin.cursor() as cursor:
                    cursor.execute(statement)
            except (psycopg2.errors.ObjectInUse, psycopg2.errors.InsufficientPrivilege):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _named(self, name: str) -> Database:
        url = make_url(self.admin.plain_url).set(database=name)
        return Database(url.render_as_string(hide_password=False))
