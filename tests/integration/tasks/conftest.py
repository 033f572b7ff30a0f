"""Tasks over fresh databases: the whole API, or a worker by hand whose children are kept."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from backend.db import Sessions, make_engine
from tests.conftest import CreateDatabase
from tests.integration.tasks.task_house import TYPES, TaskHouse, registered
from tests.integration.tasks.workbench import Workbench
from workers.isolation import Children


@pytest.fixture(scope="module")
def task_house(create_database: CreateDatabase, migrated: str) -> Iterator[TaskHouse]:
    """One for all tests of a file, which knows our own task types, too."""
    with create_database(migrated) as url, registered(*TYPES):
        engine = make_engine(url, pool_size=20, application_name="lockkeeper-tests")
        house = TaskHouse(engine)
        try:
            yield house
        finally:
            house.close()
            engine.dispose()


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Loading SciPy in a child takes a second."""
    made = Children(1)
    yield made
    made.close()


@pytest.fixture
def bench(sessions: Sessions, engine: Engine, children: Children) -> Workbench:
    return Workbench(sessions, engine, children)
