"""What vetting one package asks of the database, counted and not timed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy.engine import make_url

from backend.db import make_engine
from tests.chaos.proxy import Proxy
from tests.integration.packages.house import House
from tests.registry_server import RegistryServer

PER_PACKAGE: Final = 3
"""The row, the licence tiers, and one commit of what four quick steps found."""


class Counter(Proxy):
    """Counts the messages that ask the server for something."""

    messages = 0

    def _forward(self, link: Any, message: bytes) -> bool:
        self.messages += link.started and message[:1] == b"Q"
        return super()._forward(link, message)


@pytest.fixture
def counter(database_url: str) -> Iterator[Counter]:
    port = make_url(database_url).port
    assert port is not None
    with Counter(port) as counter:
        yield counter


def test_a_package_is_vetted_with_three_round_trips(
    counter: Counter, registry: RegistryServer, database_url: str, tmp_path: Path
) -> None:
    url = make_url(database_url).set(port=counter.port).render_as_string(hide_password=False)
    engine = make_engine(url)
    house = House(registry, database_url, engine, tmp_path)
    asked = []
    with house.closing:
        house.submit(house.lock("a", "b", "c"))
        for lease in house.worker.claim():
            before = counter.messages
            house.worker.finish(lease)
            asked.append(counter.messages - before)
        engine.dispose()

    assert set(house.database.rows("SELECT status FROM package_status")) == {("Pending Approval",)}
    # The first asks for more, and a slow machine's connections are tried before they are used.
    assert min(asked) == PER_PACKAGE
