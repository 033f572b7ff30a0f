"""The ``lockkeeper`` command in tests: real processes, and a house that is really running."""

import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.registry_server import RegistryServer, dist, npm_package

REPOSITORY = Path(__file__).resolve().parents[1]
GONE_WITHIN = 40.0  # seconds; generous: the machine may be busy

Finished = subprocess.CompletedProcess[str]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """That of a stranger: no settings, no npm, a home of their own."""
    return {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY), **variables,
    }  # fmt: skip


def lockkeeper(*arguments: str | Path, env: Mapping[str, str], **options: Any) -> Finished:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "backend.cli", *map(str, arguments)],
        env=dict(env), capture_output=True, text=True, timeout=100, check=False, **options,
    )  # fmt: skip


def script_module(name: str) -> ModuleType:
    """A Python file of scripts/ as a module of its own, which nobody else has."""
    spec = importlib.util.spec_from_file_location(
        f"{name}_script", REPOSITORY / "scripts" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error_line(finished: Finished) -> str:
    """The one line that says what went wrong."""
    lines = finished.stderr.splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("lockkeeper: ")
    assert "Traceback" not in finished.stderr
    return lines[0].removeprefix("lockkeeper: ")


@dataclass(frozen=True)
class House:
    """A ``lockkeeper up`` that serves; ``url`` is its API's."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    env: Mapping[str, str]

    def command(self, *arguments: str | Path, token: str | None = None, **options: Any) -> Finished:
        env = {**self.env, "LOCKKEEPER_URL": self.url}
        return lockkeeper(
            *arguments, env=env | ({"LOCKKEEPER_TOKEN": token} if token else {}), **options
        )

    def token(self, role: str = "user") -> str:
        account = json.loads((self.data / "credentials.json").read_text())[role]
        return self.command("token", account["username"], input=account["password"]).stdout.strip()

    def processes(self) -> dict[int, str]:
        """Everything that runs for it, itself excepted: command lines by process id."""
        running = _processes()
        family, found = {self.process.pid}, dict[int, str]()
        for pid, (parent, line) in sorted(running.items()):
            if parent in family:
                family.add(pid)
                found[pid] = line
        return found


@contextmanager
def up(data: Path, *arguments: str | Path, env: Mapping[str, str]) -> Iterator[House]:
    """A house that has vetted its lock file and serves; stopped at the end."""
    with starting(data, *arguments, env=env) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Serving"):
                break
        url = re.search(r"^URL +(\S+)", "".join(said), re.MULTILINE)
        assert url, [*said, errors_of(data).read_text()]
        yield House(process, url[1], data, env)


@contextmanager
def starting(
    data: Path, *arguments: str | Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Just started; its standard error is in a file beside ``data``."""
    command = [sys.executable, "-P", "-m", "backend.cli", "up", "--data", str(data)]
    with (
        errors_of(data).open("w") as errors,
        subprocess.Popen(
            [*command, *map(str, arguments)],
            env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=GONE_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def errors_of(data: Path) -> Path:
    return data.with_suffix(".errors")


@contextmanager
def all_gone(pids: Mapping[int, str]) -> Iterator[None]:
    """Asserts at the block's end that every one of these processes ends."""
    with ExitStack() as descriptors:
        left = {}
        for pid, line in pids.items():
            with suppress(ProcessLookupError):  # a step's child may have ended already
                left[os.pidfd_open(pid)] = line
        for descriptor in left:
            descriptors.callback(os.close, descriptor)
        yield
        deadline = time.monotonic() + GONE_WITHIN
        while left and (patience := deadline - time.monotonic()) > 0:
            for descriptor in select.select(left, (), (), patience)[0]:
                del left[descriptor]
        assert not left, list(left.values())


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process, by id (Linux)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        found[int(entry.name)] = parent, line
    return found


def publish(registry: RegistryServer, name: str, version: str, **manifest: Any) -> dict[str, str]:
    """Publish a package; answers its entry of a lock file."""
    manifest = {"license": "MIT", **manifest}
    tarball = npm_package(name, version, **manifest)
    registry.publish(name, version, tarball, **manifest)
    return {"version": version, "integrity": dist(tarball)["integrity"]}


def write_lock(file: Path, entries: Mapping[str, Mapping[str, Any]], name: str = "boat") -> Path:
    """A version 3 lock file with these entries below ``node_modules``."""
    packages: dict[str, Any] = {"": {"name": name, "version": "1.0.0"}}
    packages |= {f"node_modules/{place}": entry for place, entry in entries.items()}
    document = {"name": name, "version": "1.0.0", "lockfileVersion": 3, "packages": packages}
    file.write_text(json.dumps(document))
    return file


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> int:
    """Send a signal; answers the exit code."""
    process.send_signal(number)
    return process.wait(timeout=GONE_WITHIN)
