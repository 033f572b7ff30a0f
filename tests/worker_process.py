"""The worker as an operator starts it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import REPOSITORY


@contextmanager
def worker_process(
    folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Killed at the end, if it still runs; what it says is in ``worker.log`` of ``folder``."""
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "worker"],
            cwd=REPOSITORY, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
