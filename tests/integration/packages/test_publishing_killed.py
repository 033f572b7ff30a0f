"""A publisher that is killed in the middle of a write: whoever comes next finishes it, once."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests import verdaccio
from tests.integration.packages.approvals import approve, vetted
from tests.integration.packages.house import House, wait_until
from tests.verdaccio import Verdaccio
from tests.worker_process import worker_process

SECONDS = 40


class Stalling(ThreadingHTTPServer):
    """Passes everything on to ``behind``, and stalls at the first write: before it or after it."""

    daemon_threads = True

    def __init__(self, behind: str, moment: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.moment = moment
        self.reached = threading.Event()
        self.released = threading.Event()
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stall(self, moment: str) -> None:
        if moment == self.moment and not self.reached.is_set():
            self.reached.set()
            self.released.wait(SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The killed worker hung up."""


class _Passing(BaseHTTPRequestHandler):
    server: Stalling
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stall("before")
        self._pass_on(body)

    def _pass_on(self, body: bytes) -> None:
        kept = {n: self.headers[n] for n in ("Authorization", "Content-Type") if n in self.headers}
        url = f"{self.server.behind}{self.path}"
        answer = urllib3.request(self.command, url, body=body or None, headers=kept, retries=False)
        if self.command == "PUT":
            self.server.statuses.append(answer.status)
            self.server.stall("after")
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass


@contextmanager
def stalling(target: Verdaccio, moment: str) -> Iterator[Stalling]:
    with Stalling(target.url, moment) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            proxy.shutdown()
            thread.join()


def worker(
    house: House, target: Verdaccio, url: str, folder: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The worker that an operator starts, for the publisher's queue alone."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": house.database_url,
        "SOURCE_REPOSITORY_URL": house.registry.url,
        "PACKAGE_CACHE_DIR": str(house.settings.package_cache_dir),
        "TARGET_REPOSITORY_URL": url,
        "TARGET_TOKEN": target.token,
        "WORKER_TYPE": "package_publisher",
        "WORKER_SLEEP_INTERVAL": "0.2",
        "LEASE_TTL": "2",
    }
    return worker_process(folder, environment)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_publisher_killed_in_the_middle_of_a_write_publishes_once(
    house: House, tmp_path: Path, moment: str
) -> None:
    with verdaccio.running(tmp_path / "verdaccio") as target, stalling(target, moment) as proxy:
        target.sign_in()
        row_id = vetted(house, "killed")["killed"]
        approve(house, row_id)
        with worker(house, target, proxy.url, tmp_path) as first:
            assert proxy.reached.wait(SECONDS), (tmp_path / "worker.log").read_text()
            first.kill()
            first.wait()
        # What the dead worker sent is lost where it had not arrived.
        proxy.moment = ""
        status = "SELECT status FROM package_status WHERE id = :id"
        assert house.database.one(status, id=row_id) == "Publishing"
        with worker(house, target, target.url, tmp_path):
            wait_until(
                lambda: house.database.one(status, id=row_id) == "Published",
                seconds=SECONDS, what="the second worker finished what the first began",
            )  # fmt: skip

        document = target.document("killed")
        assert document is not None
        assert list(document["versions"]) == ["1.0.0"]
        assert target.tarball("killed", "1.0.0") is not None
        tag = house.database.one("SELECT tag FROM publications")
        assert tag == {"before": "latest", "after": None}[moment]
        proxy.released.set()
