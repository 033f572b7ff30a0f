"""The compose stack under podman-compose: its folder, its containers, its API."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from backend.cli import npmrc
from backend.cli.client import Client
from backend.cli.errors import CommandError
from tests.compose import BASE, REPOSITORY
from tests.container.engine import Engine, Failed

SPECIALISED: Final = ("publisher", "splunk-worker", "task-worker")
SERVICES: Final = (
    "db",
    "migrate",
    "api",
    "worker",
    *SPECIALISED,
)  # Trivy's server wants its database from outside
BY_US: Final = """
# Podman before 4.6 knows no condition of depends_on, and takes no container that has ended for one:
# the check itself waits for each, in the same order.
services:
  migrate: {depends_on: !reset {}}
  api: {depends_on: !reset {}}
  worker: {depends_on: !reset {}}
  publisher: {depends_on: !reset {}}
  splunk-worker: {depends_on: !reset {}}
  task-worker: {depends_on: !reset {}}
"""
LOGINS: Final = """
SELECT DISTINCT usename FROM pg_stat_activity
WHERE datname = current_database() AND application_name <> 'psql' ORDER BY usename
"""
USER: Final = "container-check"
T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """One project of compose; ``folder`` holds the file, .env and the secrets."""

    engine: Engine
    compose: str
    folder: Path
    port: int

    @property
    def project(self) -> str:
        return self.folder.name

    def up(self) -> None:
        """Start all, each when what it depends on is there."""
        self.start("db")
        until("the database is well", lambda: self.well("db"), 60)
        self.start("migrate")
        until("the schema is there", self._migrated, 120)
        self.start("api", "worker")

    def start(self, *services: str, workers: int = 1) -> None:
        """Start what does not run of these; as many workers as that, where they are among them."""
        scale = ("--scale", f"worker={workers}") if "worker" in services else ()
        self._compose("up", "--detach", "--no-build", "--pull=never", *scale, *services)

    def _migrated(self) -> bool:
        ((state),) = [container["State"] for container in self.containers("migrate")]
        return state["Status"] in {"exited", "stopped"} and state["ExitCode"] == 0

    def down(self) -> None:
        self._compose("down", "--volumes", "--timeout", "40")

    def _compose(self, *words: str) -> str:
        command = (self.compose, "--in-pod", "false", "--project-name", self.project)
        files = ("--file", BASE.name, "--file", "order.yml")
        profiles = [word for name in SPECIALISED for word in ("--profile", name)]
        return self.engine.run(*command, *files, *profiles, *words, cwd=self.folder)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What podman knows of a service's containers, by name."""
        labels = {
            "io.podman.compose.project": self.project, "com.docker.compose.service": service,
        }  # fmt: skip
        filters = [f"--filter=label={name}={value}" for name, value in labels.items()]
        names = self.engine.run("podman", "ps", "--all", "--quiet", *filters).split()
        told = self.engine.run("podman", "container", "inspect", *names) if names else "[]"
        return sorted(json.loads(told), key=lambda container: str(container["Name"]))

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's first container."""
        return self.engine.run("podman", "exec", self.containers(service)[0]["Name"], *command)

    def ask(self, statement: str) -> list[list[str]]:
        """The rows of a statement."""
        told = self.inside("db", "psql", "-U", "lockkeeper", "-AtF", "\t", "-c", statement)
        return [line.split("\t") for line in told.splitlines()]

    def well(self, service: str) -> bool:
        """Whether every container of a service says so of itself, by the check in the file."""
        containers = self.containers(service)
        return bool(containers) and all(self._well(it["Name"]) for it in containers)

    def _well(self, name: str) -> bool:
        # Asked here: podman leaves the interval to systemd's timers.
        return subprocess.run(
            ["podman", "healthcheck", "run", name],
            env=self.engine.environment, capture_output=True, timeout=60, check=False,
        ).returncode == 0  # fmt: skip

    def kill(self, service: str) -> str:
        """Send SIGKILL to the first process of a service's first container, and so to all of it."""
        container = self.containers(service)[0]
        os.kill(container["State"]["Pid"], signal.SIGKILL)
        return str(container["Name"])

    def stop(self, service: str) -> tuple[int, float]:
        """End a service's first container as a host would; answers its exit code and seconds."""
        name, began = self.containers(service)[0]["Name"], time.monotonic()
        self.engine.run("podman", "stop", "--time", "40", name)
        took = time.monotonic() - began
        (code,) = [c["State"]["ExitCode"] for c in self.containers(service) if c["Name"] == name]
        return int(code), took

    def told(self, service: str, event: str) -> dict[str, Any] | None:
        """The last line with this event in the log of a service's first container."""
        logs = ("podman", "logs", self.containers(service)[0]["Name"])
        done = subprocess.run(
            logs, env=self.engine.environment, capture_output=True, text=True, check=False
        )
        lines = (done.stdout + done.stderr).splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return next((line for line in reversed(said) if line.get("event") == event), None)

    def logins(self) -> set[str]:
        """As whom the parts are signed in to the database."""
        return {login for (login,) in self.ask(LOGINS)}

    def client(self) -> Client:
        """Somebody who has signed in, with an account that the command line made."""
        added = self.inside("api", "lockkeeper", "user", "add", USER, "--json")
        client = Client(f"http://127.0.0.1:{self.port}", None)
        client.login(USER, json.loads(added)["password"])
        return client

    def last_words(self) -> str:
        """The ends of the logs, for whoever looks for what went wrong."""
        said = []
        for service in SERVICES:
            for container in self.containers(service):
                state = container["State"]
                said.append(f"{container['Name']}: {state['Status']}, {state['ExitCode']}")
                logs = ["podman", "logs", "--tail", "15", container["Name"]]
                done = subprocess.run(
                    logs, env=self.engine.environment, capture_output=True, text=True, check=False
                )
                said += (done.stdout + done.stderr).splitlines()
        return "\n".join(said)


def folder_for(parent: Path, images: dict[str, str], port: int) -> Path:
    """A project's folder: the compose file as it is, and what init-env makes, for this machine."""
    folder = parent / f"lockkeeper-check-{secrets.token_hex(3)}"
    shutil.copytree(REPOSITORY / "examples" / "advisories", folder / "files" / "advisories")
    shutil.copy(BASE, folder)
    (folder / "order.yml").write_text(BY_US)
    subprocess.run([REPOSITORY / "scripts" / "init-env", folder], check=True, capture_output=True)
    changed = {
        **images,
        "API_BIND": f"127.0.0.1:{port}",
        "FILES_DIR": "./files",
        "OSV_PATH": "/srv/lockkeeper/advisories",
        "SOURCE_REPOSITORY_URL": npmrc.registry(os.environ, Path.home()) or "",
        "TARGET_REPOSITORY_URL": "https://npm.example.test",  # asked by nobody here
        "TRIVY_URL": "",
    }
    with (folder / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in changed.items())
    return folder


def variables(project: Path) -> dict[str, str]:
    """What .env says; as everywhere, the last word on a name is the one that holds."""
    lines = (project / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def until(what: str, check: Callable[[], T | None], within: float) -> T:
    """The first true answer of ``check``; one that cannot be had yet is none.

    Raises:
        Failed: there was none ``within`` so many seconds.
    """
    deadline, reason = time.monotonic() + within, ""
    while time.monotonic() < deadline:
        try:
            if answer := check():
                return answer
        except (CommandError, Failed) as error:
            reason = f": {error}"
        time.sleep(0.1)
    raise Failed(f"{what}: not within {within:.0f} s{reason}")
