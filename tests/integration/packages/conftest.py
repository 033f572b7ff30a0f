"""A house for each test: its own database, registry and cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.integration.packages.house import House
from tests.registry_server import RegistryServer


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
