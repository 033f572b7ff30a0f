"""The parts as processes, with what init-env and the compose file would give their containers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from tests.command_line import environment, lockkeeper
from tests.compose import BASE, REPOSITORY, resolved
from tests.conftest import open_directory
from tests.integration.queue.ledger import eventually
from tests.role_server import role_server
from tests.verdaccio import free_port

FOLDERS = {
    "PACKAGE_CACHE_DIR": "cache", "STORAGE_DIR": "storage", "TRIVY_CACHE_DIR": "trivy",
    "AUDIT_ARCHIVE_DIR": "audit", "TMPDIR": "scratch",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[URL]:
    """An empty database, as a user who may make roles, as the service db has one."""
    with open_directory() as folder, role_server(folder / "data") as url:
        yield make_url(url).set(drivername="postgresql")


@pytest.fixture(scope="module")
def variables(server: URL, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What init-env wrote, of a server that is here; and where its files of secrets are."""
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([REPOSITORY / "scripts" / "init-env", folder], check=True, capture_output=True)
    lines = (folder / ".env").read_text().splitlines()
    made = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    here = f"@{server.host}:{server.port}/{server.database}"
    there = {name: url.replace("@db:5432/lockkeeper", here) for name, url in made.items()}
    own = {"DATABASE_URL": server.render_as_string(hide_password=False)}
    return there | own | {"SECRETS": str(folder / "secrets")}


def container(name: str, variables: dict[str, str], home: Path, **changed: str) -> dict[str, str]:
    """A service's environment; what it names in its container is in ``home`` instead."""
    said = dict(resolved(BASE, environment=variables)["services"][name]["environment"])
    for variable, folder in FOLDERS.items():
        if variable in said:
            (home / folder).mkdir(exist_ok=True)
            said[variable] = str(home / folder)
    if "AUDIT_SIGNING_KEY_FILE" in said:
        said["AUDIT_SIGNING_KEY_FILE"] = f"{variables['SECRETS']}/audit-key.pem"
    said |= {"TRIVY_BINARY": "", "TRIVY_URL": "", **changed}  # there is neither here
    return environment(home, **said)


@contextmanager
def running(command: str, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    log = os.open(Path(env["HOME"]) / f"{command}.log", os.O_WRONLY | os.O_CREAT, 0o600)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "backend.cli", command], env=env, stderr=log
    ) as process:
        os.close(log)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_parts_start_say_how_they_are_and_end_on_sigterm(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """Each as its own login, which `migrate` made."""
    ports = {"API_PORT": str(free_port()), "WORKER_METRICS_PORT": str(free_port())}
    envs = {
        name: container(name, variables, tmp_path, **ports) for name in ("migrate", "api", "worker")
    }

    def code(part: str) -> int:
        return lockkeeper("health", part, env=envs[part]).returncode

    with ExitStack() as house:
        worker = house.enter_context(running("worker", envs["worker"]))
        api = house.enter_context(running("api", envs["api"]))
        eventually(lambda: (code("worker"), code("api")) == (1, 1), within=60)  # nobody let in yet
        assert lockkeeper("migrate", env=envs["migrate"]).returncode == 0
        eventually(lambda: (code("worker"), code("api")) == (0, 0), within=60)

        worker.kill()
        worker.wait()
        assert (code("worker"), code("api")) == (3, 0)

        again = house.enter_context(running("worker", envs["worker"]))
        eventually(lambda: code("worker") == 0, within=60)
        for process in (again, api):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in (again, api)] == [0, 0]
