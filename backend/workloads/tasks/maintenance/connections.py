"""Connections of their own, on which a statement may take minutes."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from backend import driver
from backend.db import make_engine
from backend.queue.reporting import interruptible
from backend.settings import Settings, psycopg2_url


@contextmanager
def cancellable(engine: Engine) -> Iterator[Connection]:
    """A connection whose statement is cancelled once the task is taken back."""
    with engine.connect() as connection:
        link = connection.connection.driver_connection
        assert isinstance(link, driver.Connection)
        with interruptible(link.cancel):
            yield connection


@contextmanager
def direct(settings: Settings) -> Iterator[Connection]:
    """A cancellable one past any pooler, on which each statement stands alone, as VACUUM must."""
    url = settings.require_database_url()
    if settings.listen_database_url is not None:
        url = psycopg2_url(settings.listen_database_url.get_secret_value())
    engine = make_engine(url, pool_size=1, application_name="lockkeeper-maintenance")
    try:
        with cancellable(engine.execution_options(isolation_level="AUTOCOMMIT")) as connection:
            yield connection
    finally:
        engine.dispose()
