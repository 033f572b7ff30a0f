"""Where the figures were taken: machine and versions, by what they are called in the table."""

import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.benchmark.environments import PEERS

PACKAGES: Final = {
    "awa": "awa-pg", "graphile_worker": "graphile-worker", "pg_boss": "pg-boss",
}  # fmt: skip
"""Where a peer's package is not called as its folder is."""
LIBRARIES: Final = ("lockkeeper", "psycopg2-binary", "SQLAlchemy")


def facts(postgresql: str, peers: Iterable[str]) -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{cpu[1] if cpu else platform.machine()}, {cores} cores,"
        f" {int(memory[1]) // 2**20 if memory else '?'} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "PostgreSQL": f"{postgresql}, fsync and synchronous_commit on, else as it ships",
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "peers": ", ".join(f"{PACKAGES.get(peer, peer)} {pinned(peer)}" for peer in peers)
        or "none",
    }


def pinned(peer: str) -> str:
    """The version of the peer that its lock names."""
    package, folder = re.escape(PACKAGES.get(peer, peer)), PEERS / peer
    for lock, pattern in (
        ("requirements.txt", rf"(?m)^{package}(?:\[[^\]]*\])?==([^\s;\\]+)"),
        ("package-lock.json", rf'"node_modules/{package}": {{\s*"version": "([^"]+)"'),
    ):
        if (folder / lock).exists() and (found := re.search(pattern, (folder / lock).read_text())):
            return found[1]
    return "?"
