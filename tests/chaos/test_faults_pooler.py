"""pgBouncer in transaction mode between the workers and the server: no transaction of a worker may
count on having the connection of the one before it.
"""

import copy
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from tests.chaos.fleet import Fleet
from tests.chaos.server import Server
from tests.chaos.stage import Stage, eventually
from tests.chaos.workload import CRATES
from tests.conftest import open_directory

pytestmark = pytest.mark.chaos

# Two server connections for all: transactions of both workers share them.
SETTINGS = """
[databases]
{database} = host=127.0.0.1 port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 2
auth_type = any
"""


@pytest.fixture
def pooled(stage: Stage, tmp_path: Path) -> Iterator[Stage]:
    """The same stage with pgBouncer behind the workers' proxies."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian, Ubuntu: apt install pgbouncer)")
    pooled = copy.copy(stage.server)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        pooled.port = probe.getsockname()[1]
    with open_directory() as folder, Fleet(pooled, tmp_path) as fleet:
        settings = folder / "pgbouncer.ini"
        settings.write_text(settings_of(stage.server, pooled.port))
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with subprocess.Popen([program, *user, str(settings)], stderr=subprocess.DEVNULL) as pooler:
            try:
                eventually(lambda: answers(pooled))
                yield Stage(pooled, fleet, stage.engine)
            finally:
                pooler.kill()


def settings_of(server: Server, port: int) -> str:
    url = make_url(server.plain_url)
    return SETTINGS.format(
        database=url.database, server_port=server.port, user=url.username, password=url.password,
        port=port,
    )  # fmt: skip


def answers(server: Server) -> bool:
    url = make_url(server.plain_url).set(port=server.port)
    try:
        psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=1).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_workers_behind_a_pooler_in_transaction_mode_finish_every_row_once(pooled: Stage) -> None:
    pooled.add(150)
    pooled.add(10, queue=CRATES)
    pooled.add(10, kind="slow")
    victim, _survivor = pooled.start(2)
    pooled.holding(victim)
    victim.kill()

    pooled.rest()
