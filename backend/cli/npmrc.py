"""The registry that this person's npm uses: a mirror they set there is what they expect here."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

NPM_TIMEOUT = 10  # seconds


def registry(environment: Mapping[str, str], home: Path) -> str | None:
    """The registry's URL, or None where npm says nothing usable.

    Asked in npm's own order: the environment, ``~/.npmrc``, and then npm itself for what its
    global files and its own default say. Never the ``.npmrc`` beside the lock file: that one is a
    stranger's, and would choose where the packages come from.
    """
    said = _of_environment(environment) or _of_file(home / ".npmrc", environment) or _of_npm(home)
    parts = urlsplit(said or "")
    usable = parts.scheme in {"http", "https"} and parts.hostname
    return said.rstrip("/") if said and usable else None


def _of_environment(environment: Mapping[str, str]) -> str | None:
    return next((v for k, v in environment.items() if k.lower() == "npm_config_registry"), None)


def _of_file(file: Path, environment: Mapping[str, str]) -> str | None:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return None
    said = None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "registry":
            said = value.strip().strip("\"'")  # the last one counts
    for name, value in environment.items():
        said = said.replace(f"${{{name}}}", value) if said else None
    return said


def _of_npm(home: Path) -> str | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    try:
        answer = subprocess.run(
            [npm, "config", "get", "registry"],
            cwd=home, capture_output=True, text=True, timeout=NPM_TIMEOUT, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
