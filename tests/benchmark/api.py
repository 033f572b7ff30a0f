"""Requests a second of the API, against a bare Flask view on the same server.

    python -m tests.benchmark.api [--quick]

Both servers are processes of their own, with the product's server settings and its defaults. One
client process holds 16 connections open, each a user of its own, and sends on each as fast as
answers come. The cells are interleaved, round by round; every figure is the median of its rounds.

The write is an upload of a one-package lock that nobody has sent before. The reads are the status
of a one-package request, that request with its package, and one with ten packages. A package's
explanation, a diagnosis of many statements, is measured beside them and compared with nothing.
The floor's write is BEGIN, INSERT and COMMIT, as the driver sends them; its read a lone SELECT.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

import psycopg2

from backend.db import make_engine, make_sessions
from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.identity import passwords, service
from backend.identity.roles import Role
from backend.migrations.run import upgrade
from backend.settings import psycopg2_url
from tests.benchmark import api_floor
from tests.benchmark.api_load import Load, Told
from tests.benchmark.api_requests import get, sign_in, submit, upload
from tests.benchmark.api_servers import Served, served
from tests.conftest import REPOSITORY, open_directory

CONNECTIONS: Final = 16
PASSWORD: Final = "benchmark passphrase"
UNLIMITED: Final = str(10**9)  # a minute; the limits are enforced, and never reached
ENVIRONMENT: Final = {
    "JWT_SECRET": "0f1e2d3c4b5a69788796a5b4c3d2e1f0-signs-nothing-real",
    "SOURCE_REPOSITORY_URL": "https://registry.example.test/",
    "LOGIN_RATE_PER_MINUTE": UNLIMITED,
    "UPLOAD_RATE_PER_MINUTE": UNLIMITED,
}
WARM_UP: Final = 2.0  # seconds, for each cell: every connection has prepared and planned by then
FLOORS: Final = {
    "write": "floor_write",
    "read_status": "floor_read",
    "read_package": "floor_read",
    "read_packages": "floor_read",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request to one server; ``templates`` for each connection."""

    name: str
    server: Served
    status: int
    templates: list[str]


def measure(url: str, *, quick: bool) -> dict[str, float]:
    """Figures by name: requests a second, ms, processor ms a request (Python, PostgreSQL), ratios.

    Args:
        url: of an empty database on a durable server, driver named.
        quick: two rounds of a second instead of seven of four.
    """
    upgrade(url)
    with closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as link, link:
        link.cursor().execute(api_floor.TABLES)
    names = _add_users(url)
    rounds, seconds = (2, 1.0) if quick else (7, 4.0)
    with ExitStack() as stack:
        floor, ours = (
            stack.enter_context(served(module, url, ENVIRONMENT))
            for module in ("tests.benchmark.api_floor", "backend.web.serve")
        )
        cells = _cells(floor, ours, names)
        client = _Client()
        for cell in cells:
            client.drive(cell, WARM_UP)
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for cell in cells:
                for name, value in _figures(client, cell, seconds).items():
                    found.setdefault(name, []).append(value)
    figures = {name: median(values) for name, values in found.items()}
    return figures | _ratios(figures)


def _add_users(url: str) -> list[str]:
    engine = make_engine(url)
    hashed, names = passwords.hashed(PASSWORD), [f"user{n}" for n in range(CONNECTIONS)]
    with make_sessions(engine).begin() as session:
        for name in names:
            service.create_user(
                session, "benchmark", username=name, password_hash=hashed, role=Role.USER
            )
    engine.dispose()
    return names


def _cells(floor: Served, ours: Served, users: list[str]) -> list[Cell]:
    tokens = [sign_in(ours.port, user, PASSWORD) for user in users]
    small = [submit(ours.port, t, [f"of-{user}"]) for t, user in zip(tokens, users, strict=True)]
    large = [
        submit(ours.port, t, [f"of-{user}-{n}" for n in range(10)])
        for t, user in zip(tokens, users, strict=True)
    ]

    def reads(path: str, shown: list[dict[str, dict[str, int]]]) -> list[str]:
        return [
            get(path.format(one["request"]["id"]), t) for one, t in zip(shown, tokens, strict=True)
        ]

    packages = [{"request": one["packages"][0]} for one in small]
    return [
        Cell("floor_write", floor, 202, [upload("/write")] * len(users)),
        Cell("write", ours, 202, [upload("/api/packages/upload", t) for t in tokens]),
        Cell("floor_read", floor, 200, [get(f"/read/{n + 1}") for n in range(len(users))]),
        Cell("read_status", ours, 200, reads("/api/packages/requests/{}/status", small)),
        Cell("read_package", ours, 200, reads("/api/packages/requests/{}", small)),
        Cell("read_packages", ours, 200, reads("/api/packages/requests/{}", large)),
        Cell("explain", ours, 200, reads("/api/queues/packages/{}/explain", packages)),
    ]


class _Client:
    """Starts the client process, and numbers its requests through."""

    def __init__(self) -> None:
        self._next = 1

    def drive(self, cell: Cell, seconds: float) -> Told:
        load = Load(cell.server.port, cell.status, seconds, cell.templates, self._next)
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmark.api_load"],
            input=json.dumps(asdict(load)), capture_output=True, text=True, cwd=REPOSITORY,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{cell.name}: {done.stderr.strip().splitlines()[-1]}")
        told = Told(**json.loads(done.stdout.splitlines()[-1]))
        self._next += told.requests + CONNECTIONS
        return told


def _figures(client: _Client, cell: Cell, seconds: float) -> dict[str, float]:
    python, postgres = cell.server.cpu_seconds()
    told = client.drive(cell, seconds)
    python_after, postgres_after = cell.server.cpu_seconds()
    return {
        f"{cell.name}_requests_per_s": told.requests_per_s,
        f"{cell.name}_p50_ms": told.p50_ms,
        f"{cell.name}_p99_ms": told.p99_ms,
        f"{cell.name}_python_cpu_ms": 1000 * (python_after - python) / told.requests,
        f"{cell.name}_postgres_cpu_ms": 1000 * (postgres_after - postgres) / told.requests,
        f"{cell.name}_client_cpu_share": told.cpu_share,
    }


def _ratios(figures: dict[str, float]) -> dict[str, float]:
    return {
        f"{name}_ratio": figures[f"{name}_requests_per_s"] / figures[f"{floor}_requests_per_s"]
        for name, floor in FLOORS.items()
    }


@contextmanager
def _own_server() -> Iterator[str]:
    with (
        open_directory() as folder,
        EmbeddedPostgres(
            folder / "data", durable=True, installations=wheel_installations()
        ) as server,
    ):
        yield psycopg2_url(server.url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with _own_server() as url:
        print(json.dumps(measure(url, quick=options.quick), indent=2))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
