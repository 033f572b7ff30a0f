"""Buildah, podman and podman-compose, with images, networks and settings in one folder of ours."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SETTINGS: Final = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/run/libpod"
volume_path = "{folder}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
STORAGE: Final = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""
MOST: Final = 16384  # files and processes; podman takes neither above the kernel's pid_max
COMPOSE_SINCE: Final = (1, 3)  # the first that waits for what depends_on names


class Skipped(Exception):
    """What this machine does not allow, and why."""


class Failed(Exception):
    """A command that should have worked, with its last words."""


@dataclass(frozen=True)
class Engine:
    """``folder`` holds everything, and everything is gone with it."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "containers.conf").write_text(_settings(self.folder))
        (self.folder / "storage.conf").write_text(STORAGE.format(folder=self.folder))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }

    def run(self, *command: str | Path, cwd: Path | None = None, within: float = 600) -> str:
        """Run a command to its end; answers what it printed.

        Raises:
            Failed: it did not end well, or not ``within`` so many seconds.
        """
        said = self.folder / "errors"
        with said.open("w+") as errors:  # a file: what a command leaves running may hold it open
            try:
                done = subprocess.run(
                    [str(word) for word in command],
                    env=self.environment, cwd=cwd, stdout=subprocess.PIPE, stderr=errors,
                    stdin=subprocess.DEVNULL, text=True, timeout=within, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Failed(f"{command[0]} {command[1]}: not within {within:.0f} s") from None
        if done.returncode != 0:
            last = "\n".join([*done.stdout.splitlines(), *said.read_text().splitlines()][-12:])
            raise Failed(f"{command[0]} {command[1]}: exit code {done.returncode}\n{last}")
        return done.stdout

    def build(self, tag: str, file: Path, context: Path, arguments: Mapping[str, str]) -> None:
        """Build an image without a daemon and without namespaces of its own."""
        pairs = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        self.run(
            "buildah", "bud", "--isolation", "chroot", "--format", "docker", "--pull-never",
            "--tag", tag, "--file", file, *pairs, context,
        )  # fmt: skip

    def clear(self) -> None:
        """Leave nothing that runs, nothing mounted and no network; the folder is its owner's."""
        self.run("podman", "rm", "--all", "--force", "--time", "0")
        self.run("podman", "network", "prune", "--force")
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(self.folder):
                self.run("umount", mount)

    def inspected(self, image: str) -> dict[str, Any]:
        """What podman knows of an image."""
        ((told),) = json.loads(self.run("podman", "image", "inspect", image))
        return dict(told)

    def size(self, image: str) -> float:
        """In 1,000,000 bytes, with its base."""
        return float(self.inspected(image)["Size"]) / 1e6


def _settings(folder: Path) -> str:
    """Podman's own limits are more than a root without CAP_SYS_RESOURCE may give away.

    Runc goes before crun, which refuses control groups of both versions side by side.
    """
    runtime = next((name for name in ("runc", "crun") if shutil.which(name)), "")
    hard = {
        name: min(2**62 if limit == resource.RLIM_INFINITY else limit, MOST)
        for name, limit in (
            ("files", resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            ("processes", resource.getrlimit(resource.RLIMIT_NPROC)[1]),
        )
    }
    return SETTINGS.format(folder=folder, runtime=runtime, **hard)


def wanted(*programs: str) -> None:
    """Check that these are here.

    Raises:
        Skipped: one is not.
    """
    if os.geteuid() != 0:
        raise Skipped("only root may set the root file systems and networks up")
    if missing := [name for name in programs if shutil.which(name) is None]:
        raise Skipped(f"not installed here: {', '.join(missing)}")


def podman_compose() -> str:
    """The path of a podman-compose that understands the compose file.

    Raises:
        Skipped: there is none, or it is too old.
    """
    ours = Path(sys.executable).parent
    program = shutil.which("podman-compose", path=f"{ours}:{os.environ['PATH']}")
    if program is None:
        raise Skipped("not installed here: podman-compose (pip install podman-compose)")
    told = subprocess.run(
        [program, "version", "--short"], capture_output=True, text=True, check=False
    )
    version = told.stdout.strip().splitlines()[-1:] or ["0"]
    if tuple(int(part) for part in version[0].split(".")[:2] if part.isdigit()) < COMPOSE_SINCE:
        raise Skipped(f"podman-compose {version[0]} does not wait for what a service depends on")
    return program
