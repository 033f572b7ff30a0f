"""The real GuardDog for tests, installed once into a cache outside the repository.

The first time it needs the package index that pip is configured with. Where GuardDog cannot be
had, tests that ask for it are skipped and say so.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parent / "guarddog-install" / "requirements.txt"
INSTALL_SECONDS = 300


def program() -> str:
    """The path of ``guarddog``; skips the test where it cannot be had."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockkeeper-tests"
    folder = cache / f"guarddog-{wanted}"
    if not (folder / "installed").exists():
        _install(folder)
    return str(folder / "bin" / "guarddog")


def _install(folder: Path) -> None:
    """Its scripts name their own folder: it is made where it stays, by one process at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    for arguments in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, "--require-hashes", "--only-binary", ":all:", "--requirement", str(REQUIREMENTS)],
    ):
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            said = done.stderr.strip().splitlines()[-1:]
            pytest.skip(f"NOT TESTED AGAINST THE REAL GUARDDOG: pip install failed: {said}")
    (folder / "installed").touch()
