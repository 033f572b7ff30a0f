"""``scripts/test_worker.py``, really run: against an API and a worker, and with one of its own."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line import REPOSITORY, Finished, House, environment, publish, up, write_lock
from tests.conftest import open_directory
from tests.registry_server import RegistryServer, integrity

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="stops what it started by signals"),
    pytest.mark.timeout(240),
]


@dataclass(frozen=True)
class Place:
    """A registry, and lock files: two packages of which one is refused; one with other bytes."""

    registry: RegistryServer
    directory: Path
    env: dict[str, str]
    lock: Path
    broken: Path


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with open_directory() as directory, RegistryServer() as registry:
        good = {
            "left-oar": publish(registry, "left-oar", "1.0.0"),
            "keel": publish(registry, "keel", "2.0.0", license="AGPL-3.0-only"),
        }
        bad = {"rudder": publish(registry, "rudder", "1.0.0") | {"integrity": integrity(b"other")}}
        env = environment(
            directory,
            SOURCE_REPOSITORY_URL=registry.url, WORKER_GRACE_PERIOD="2", LOCKKEEPER_VENV=sys.prefix,
        )  # fmt: skip
        lock = write_lock(directory / "package-lock.json", good)
        yield Place(registry, directory, env, lock, write_lock(directory / "broken.json", bad))


@pytest.fixture(scope="module")
def house(place: Place) -> Iterator[House]:
    nothing = write_lock(place.directory / "nothing.json", {})
    with up(place.directory / "data", nothing, env=place.env) as house:
        yield house


def script(*arguments: str | Path, env: dict[str, str]) -> Finished:
    """Without what is installed here: it wants Python alone."""
    return subprocess.run(
        [sys.executable, "-I", "-S", REPOSITORY / "scripts" / "test_worker.py", *arguments],
        env=env, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def against(house: House, *arguments: str | Path, password: str | None = None) -> Finished:
    kept = json.loads((house.data / "credentials.json").read_text())["user"]["password"]
    env = {**house.env, "LOCKKEEPER_PASSWORD": password or kept}
    return script("--url", house.url, *arguments, env=env)


def steps(finished: Finished) -> list[str]:
    """What it said, a look in the middle left out."""
    lines = finished.stdout.splitlines()
    return [line for line in lines if not re.match(r"watch: (\d+) of (?!\1 )", line)]


def test_what_is_found_vets_the_lock_file(house: House, place: Place) -> None:
    finished = against(house, place.lock)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    said = steps(finished)
    assert re.fullmatch(r"submit: request \d+: 2 packages queued", said.pop(2))
    assert said == [
        f"stack: found {house.url}",
        "sign in: signed in as user",
        "watch: 2 of 2 packages vetted",
        "retry: 0 packages queued again",
        "report: 1 Pending Approval",
        "report: 1 Rejected",
        "clean up: signed out",
        "PASSED: the worker does its work",
    ]


def test_what_fails_in_processing_is_retried_and_then_reported(house: House, place: Place) -> None:
    finished = against(house, place.broken)

    said = steps(finished)
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert said.count("watch: 1 of 1 packages vetted") == 2
    assert "retry: 1 packages queued again" in said
    assert any(line.startswith("report: rudder 1.0.0 failed: ") for line in said)
    assert said[-2:] == ["clean up: signed out", "FAILED: 1 packages failed in processing"]


def test_what_cannot_be_done_is_one_line_and_an_exit_code(house: House, place: Place) -> None:
    nonsense = place.directory / "nonsense.json"
    nonsense.write_text("{")

    wrong_password = against(house, place.lock, password="another one")
    no_lock = against(house, nonsense)
    no_file = script("none.json", env=place.env)
    no_password = script("--url", house.url, place.lock, env=place.env)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nobody = script("--url", f"http://127.0.0.1:{port}", place.lock, env=place.env)

    ended = [wrong_password, no_lock, no_file, no_password, nobody]
    assert [finished.returncode for finished in ended] == [1, 1, 2, 2, 3]
    assert [finished.stderr for finished in ended] == [""] * 5
    said = [finished.stdout.splitlines()[-1] for finished in ended]
    refused = "GET /ready: [Errno 111] Connection refused"
    assert said[0].startswith("FAILED: POST /api/auth/login answered 401: ")
    assert said[1].startswith("FAILED: POST /api/packages/upload answered 400: ")
    assert said[2:] == [
        "FAILED: none.json is no file",
        "FAILED: LOCKKEEPER_PASSWORD is not set",
        f"FAILED: http://127.0.0.1:{port} is not ready: {refused}",
    ]


def test_where_nothing_answers_a_stack_is_started_and_taken_away(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import test_worker; test_worker.LOCAL = sys.argv.pop(1); sys.exit(test_worker.main())"
    )

    finished = subprocess.run(
        [sys.executable, "-B", "-c", program, REPOSITORY / "scripts", nobody, place.lock],
        env={**place.env, "TMPDIR": str(place.directory)},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert finished.returncode == 0, finished.stdout + finished.stderr
    said = steps(finished)
    assert said[0] == "stack: starting one by scripts/run"
    assert said[-3:] == [
        "clean up: signed out",
        "clean up: the stack is stopped",
        "PASSED: the worker does its work",
    ]
    assert list(place.directory.glob("lockkeeper-test-*")) == []
