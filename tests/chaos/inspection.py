"""The one step that runs in a child process; a child imports nothing else of the workload."""

import os
import signal
import time
from typing import Any

from backend.queue.retry import Transient


def inspect(row: dict[str, Any]) -> dict[str, str]:
    """Look into a crate: a child-killer's opens its child up instead."""
    if row["kind"] == "child-killer":
        os.kill(os.getpid(), signal.SIGKILL)
    if row["kind"] == "flaky" and row["attempts"] < 3:
        raise Transient("not yet")
    if row["kind"] == "slow":
        time.sleep(0.4)
    return {"inspected": row["kind"]}
