"""One durable server for all faults that tests name; its tables are emptied before each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from backend.db import make_engine
from tests.chaos.fleet import Fleet
from tests.chaos.server import Server
from tests.chaos.stage import Stage
from tests.conftest import open_directory

TABLES = "chaos_ledger, chaos_crates, chaos_bookings, attempts, workers, queue_pauses"


@pytest.fixture(scope="session")
def chaos_server(_environment_of_a_stranger: None) -> Iterator[Server]:
    with open_directory() as directory, Server(directory) as server:
        server.prepare()
        yield server


@pytest.fixture
def stage(chaos_server: Server, tmp_path: Path) -> Iterator[Stage]:
    engine = make_engine(chaos_server.url, application_name="stage")
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {TABLES} RESTART IDENTITY"))
    with Fleet(chaos_server, tmp_path) as fleet:
        yield Stage(chaos_server, fleet, engine)
    engine.dispose()
