"""The peers' own environments: made on first use, kept outside the repository."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).parent / "peers"
INSTALLED: Final = ".installed"  # in an environment, written last
PATIENCE: Final = 600  # seconds for an installation
OLDEST: Final = {"oban": (3, 12)}
"""The oldest Python on which a peer runs, where that is not the product's own."""


class Unavailable(Exception):
    """The peer cannot be measured here; one line that says why."""


def cache() -> Path:
    """``LOCKKEEPER_BENCH_CACHE``, or a folder of the user's cache."""
    named = os.environ.get("LOCKKEEPER_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "lockkeeper" / "bench"


def python(peer: str) -> str:
    """The one that runs this and ours; ``LOCKKEEPER_BENCH_PYTHON`` where it is too old for a peer.

    Raises:
        Unavailable: it is, and no other is named.
    """
    oldest = OLDEST.get(peer, (3, 11))
    if sys.version_info >= oldest:
        return sys.executable
    try:
        return os.environ["LOCKKEEPER_BENCH_PYTHON"]
    except KeyError:
        wanted = ".".join(map(str, oldest))
        raise Unavailable(f"wants Python {wanted}: name one by LOCKKEEPER_BENCH_PYTHON") from None


def known() -> list[str]:
    """The peers that can be installed."""
    locks = [*PEERS.glob("*/requirements.txt"), *PEERS.glob("*/package-lock.json")]
    return sorted(lock.parent.name for lock in locks)


def command(peer: str, *, install: bool) -> list[str]:
    """What runs the peer's bench, in its own environment.

    Args:
        peer: a folder's name in ``peers``.
        install: make the environment where it is not there yet.

    Raises:
        Unavailable: no such peer, no environment, or it could not be made.
    """
    folder = PEERS / peer
    if (folder / "bench.py").exists() and (folder / "requirements.txt").exists():
        interpreter = python(peer)
        home = _home(peer, folder / "requirements.txt", f"{interpreter} {sys.version_info[:2]}")
        if not (home / INSTALLED).exists():
            _install(home, install, _python_environment(interpreter, home, folder))
        return [str(home / "bin" / "python"), "-B", str(folder / "bench.py")]
    if (folder / "bench.mjs").exists() and (folder / "package-lock.json").exists():
        if not (node := shutil.which("node")) or not (npm := shutil.which("npm")):
            raise Unavailable("no node, or no npm")
        home = _home(peer, folder / "package-lock.json")
        if not (home / INSTALLED).exists():
            _copy(home, folder)
            _install(home, install, [[npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]],
                     within=home / peer)  # fmt: skip
        _copy(home, folder)
        return [node, str(home / peer / "bench.mjs")]
    raise Unavailable("no such peer")


def _home(peer: str, lock: Path, more: str = "") -> Path:
    """Where its environment is, or will be: another one for each state of the lock."""
    digest = hashlib.sha256(lock.read_bytes() + more.encode()).hexdigest()[:12]
    return cache() / f"{peer}-{digest}"


def _python_environment(interpreter: str, home: Path, folder: Path) -> list[list[str]]:
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input",
           "--disable-pip-version-check", "--require-hashes"]  # fmt: skip
    return [
        [interpreter, "-m", "venv", "--clear", str(home)],
        [*pip, "--requirement", str(folder / "requirements.txt")],
    ]


def _copy(home: Path, folder: Path) -> None:
    """Node looks for modules beside the file that wants them, and nowhere else."""
    for source, target in ((folder.parent, home), (folder, home / folder.name)):
        target.mkdir(parents=True, exist_ok=True)
        for file in [*source.glob("*.mjs"), *source.glob("*.json")]:
            shutil.copy(file, target)


def _install(
    home: Path, allowed: bool, commands: Sequence[Sequence[str]], within: Path | None = None
) -> None:
    if not allowed:
        raise Unavailable("not installed yet: a run without --quick installs it")
    home.mkdir(parents=True, exist_ok=True)
    for arguments in commands:
        done = subprocess.run(
            arguments, cwd=within, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise Unavailable(f"not installable: {said[-1] if said else 'no message'}")
    (home / INSTALLED).touch()
