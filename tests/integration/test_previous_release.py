"""The API and the worker of the release before go on while the schema is this one's already."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from backend.cli.client import Client
from tests.command_line import REPOSITORY, environment, lockkeeper, publish, write_lock
from tests.conftest import open_directory
from tests.integration.packages.house import wait_until
from tests.registry_server import RegistryServer

VERSIONS = "backend/migrations/versions"
SECRET = secrets.token_hex(32)


def git(*arguments: str) -> bytes:
    done = subprocess.run(
        ["git", "-C", REPOSITORY, *arguments], capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        pytest.skip(f"git {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout


def previous() -> str:
    """The newest release; before the first one, the last commit with an older schema."""
    tags = git("tag", "--merged", "HEAD", "--sort=-creatordate", "--list", "v*").decode().split()
    if tags:
        return tags[0]
    newest = git("log", "-1", "--format=%H", "--diff-filter=A", "--", f"{VERSIONS}/0*.py")
    return f"{newest.decode().strip()}^"


@pytest.fixture
def old() -> Iterator[Path]:
    """The tree of the release before, in a folder of its own."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("there is no history here: this is not a checkout")
    tree = git("archive", "--format=tar", previous(), "backend", "workers", "examples")
    with open_directory() as folder:
        with tarfile.open(fileobj=BytesIO(tree)) as archive:
            archive.extractall(folder, filter="data")
        before, now = (
            max(file.name for file in (tree / VERSIONS).glob("0*.py"))
            for tree in (folder, REPOSITORY)
        )
        if before == now:
            pytest.skip("the release before has this schema")
        yield folder


@contextmanager
def running(part: str, env: Mapping[str, str], log: Path) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "backend.cli", part]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=dict(env), stderr=output, cwd=log.parent)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_release_before_takes_and_vets_a_lock_on_the_new_schema(
    old: Path, database_url: str, tmp_path: Path
) -> None:
    url = database_url.replace("+psycopg2", "")
    with RegistryServer() as registry:
        port = free_port()
        env = environment(
            tmp_path, PYTHONPATH=str(old), DATABASE_URL=url, SOURCE_REPOSITORY_URL=registry.url,
            JWT_SECRET=SECRET, API_PORT=str(port), PACKAGE_CACHE_DIR=str(tmp_path / "cache"),
            STORAGE_DIR=str(tmp_path / "storage"), OSV_PATH=str(REPOSITORY / "examples/advisories"),
            WORKER_GRACE_PERIOD="2", LOCKKEEPER_URL=f"http://127.0.0.1:{port}",
        )  # fmt: skip
        entries = {name: publish(registry, name, "1.0.0") for name in ("hull", "mast")}
        lock = write_lock(tmp_path / "package-lock.json", entries)
        added = lockkeeper("user", "add", "anna", "--json", env=env)
        password = json.loads(added.stdout)["password"]
        logs = (tmp_path / "api.log", tmp_path / "worker.log")
        with running("api", env, logs[0]), running("worker", env, logs[1]):
            ready = Client(env["LOCKKEEPER_URL"])
            wait_until(lambda: ready.admitted("/ready"), seconds=60, what="the old API is ready")
            token = lockkeeper("token", "anna", env=env, input=password).stdout.strip()
            done = lockkeeper(
                "submit", lock, "--wait", "--json", env={**env, "LOCKKEEPER_TOKEN": token}
            )

    said = "".join(log.read_text() for log in logs)
    assert done.returncode == 0, done.stderr + said
    assert json.loads(done.stdout)["counts"] == {"Pending Approval": 2}, said
    assert "Traceback" not in said
