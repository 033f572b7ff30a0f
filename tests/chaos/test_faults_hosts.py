"""Workers on hosts of their own, of which one loses its network while it holds rows."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex

import pytest

from backend.db import make_engine
from backend.embedded import host_installations, wheel_installations
from backend.migrations.run import upgrade
from backend.queue.entry import enqueue_many
from backend.settings import psycopg2_url
from tests.chaos.fleet import REPOSITORY, held_by
from tests.chaos.hosts import Host, NoHosts, network
from tests.chaos.invariants import unrest, violations
from tests.chaos.stage import eventually
from tests.chaos.worker import Options
from tests.chaos.workload import LEDGER, create_tables
from tests.conftest import open_directory
from tests.failover.cluster import Node

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(200)]


class Hosts:
    """Three workers on three hosts, and the database on a fourth."""

    def __init__(self, database: Node, hosts: list[Host], logs: Path, running: ExitStack) -> None:
        self.hosts = hosts
        self.database = database
        self.url = psycopg2_url(database.url)
        self.engine = make_engine(self.url, application_name="stage")
        self.accepted: set[int] = set()
        self._logs = logs
        running.callback(self.engine.dispose)
        upgrade(self.url)
        create_tables(self.engine)
        for number in range(len(hosts)):
            running.enter_context(self._worker(number))

    def _worker(self, number: int) -> "Stopped":
        options = Options(name=f"worker-{number}", concurrency=6).model_dump_json()
        command = [sys.executable, "-m", "tests.chaos.worker", self.url, "--options", options]
        with self._log(number).open("wb") as log:
            return Stopped(
                [*self.hosts[number].inside, *command],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def add(self, count: int, kind: str) -> None:
        with self.engine.begin() as connection:
            self.accepted |= set(enqueue_many(connection, LEDGER, [{"kind": kind}] * count))

    def held(self, number: int) -> set[str]:
        """Tokens of what a worker holds."""
        return {row.token for row in held_by(self.engine, f"worker-{number}")}

    def settled_by(self, number: int) -> int:
        asked = "SELECT count(*) FROM attempts WHERE outcome = 'done' AND worker = %s"
        return int(self.database.ask(asked, f"worker-{number}"))

    def addresses(self) -> set[str]:
        with self.database.admin() as cursor:
            cursor.execute(
                "SELECT DISTINCT host(client_addr) FROM pg_stat_activity"
                " WHERE application_name LIKE 'worker-%'"
            )
            return {address for (address,) in cursor}

    def said(self, number: int) -> str:
        return self._log(number).read_text(errors="replace")

    def _log(self, number: int) -> Path:
        return self._logs / f"worker-{number}.log"


class Stopped(subprocess.Popen[bytes]):
    """A process that is killed at the end of its context."""

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self.wait()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as running:
        try:
            ours, others = running.enter_context(network(3))
        except NoHosts as reason:
            pytest.skip(f"no hosts of their own here: {reason}")
        folder = running.enter_context(open_directory())
        found = (wheel_installations() or host_installations())[0]
        database = running.enter_context(Node(folder, "one", found, token_hex(16), host=ours))
        database.create()
        yield Hosts(database, others, tmp_path, running)


def test_a_host_that_is_cut_off_loses_its_rows_to_others_and_its_late_results_are_refused(
    hosts: Hosts,
) -> None:
    hosts.add(60, "slow")
    eventually(lambda: all(hosts.held(number) for number in range(3)), within=60)
    assert hosts.addresses() == {host.address for host in hosts.hosts}

    hosts.hosts[0].cut()
    late = hosts.held(0)
    hosts.add(60, "plain")
    assert late
    eventually(lambda: not unrest(hosts.engine), within=90)  # without the first one
    assert violations(hosts.engine, {LEDGER: hosts.accepted}) == []
    done_alone = hosts.settled_by(0)

    hosts.hosts[0].mend()
    eventually(lambda: "lease.lost" in hosts.said(0), within=60)
    assert hosts.settled_by(0) == done_alone
    hosts.add(200, "slow")
    eventually(lambda: hosts.settled_by(0) > done_alone, within=60)
    eventually(lambda: not unrest(hosts.engine), within=90)
    assert violations(hosts.engine, {LEDGER: hosts.accepted}) == []
