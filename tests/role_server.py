"""A server whose role may make roles: the wheel's own may not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from backend.database_roles.rights import PARTS
from backend.db import make_engine
from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.embedded.cluster import ROLE, Cluster
from backend.embedded.installation import Installation
from backend.settings import psycopg2_url

PASSWORD = "of a part"


@contextmanager
def role_server(data_dir: Path, installation: Installation | None = None) -> Iterator[str]:
    """Its URL; while it was stopped a superuser let its role make others."""
    installation = installation or wheel_installations()[0]
    with EmbeddedPostgres(data_dir, durable=False, installations=[installation]):
        pass
    cluster = Cluster.locate(data_dir)
    single = [str(installation.bin / "postgres"), "--single", "-D", str(cluster.data), "postgres"]
    cluster._run(single, stdin=f"ALTER ROLE {ROLE} CREATEROLE;\n")
    with EmbeddedPostgres(data_dir, durable=False, installations=[installation]) as server:
        yield psycopg2_url(server.url)


@contextmanager
def logged_in(owner: Engine, url: str) -> Iterator[Mapping[str, Engine]]:
    """By role: engines of a login for each part, named ``of_`` and the part."""
    engines = {}
    with owner.begin() as connection:
        for role in PARTS:
            login = role.replace("lockkeeper_", "of_")
            statement = f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role}"
            connection.execute(text(statement))
            engines[role] = make_engine(
                make_url(url).set(username=login, password=PASSWORD).render_as_string(False)
            )
    yield engines
    for engine in engines.values():
        engine.dispose()
