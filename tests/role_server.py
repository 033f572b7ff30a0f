"""A server whose role may make roles: the wheel's own may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.embedded.cluster import ROLE, Cluster
from backend.embedded.installation import Installation
from backend.settings import psycopg2_url


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
