"""What a worker is, what it serves and how."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from backend.queue import leases
from backend.queue.fleet import Worker
from backend.queue.pipeline import Pipeline

NAME_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Policy:
    """How this worker works. Durations are timedeltas, counts are rows."""

    concurrency: int = 8
    children: int = (os.cpu_count() or 1) + 1  # one may wait for the worker to turn to it
    interval: timedelta = timedelta(seconds=10)
    stall_timeout: timedelta = timedelta(minutes=30)
    grace: timedelta = timedelta(seconds=25)
    ttl: timedelta = leases.DEFAULT_TTL
    retention: timedelta = timedelta(days=90)
    """How long history is kept."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A pipeline this worker serves; some of its partitions, or all where None."""

    pipeline: Pipeline
    partitions: Sequence[str] | None = None


def worker_name(given: str | None = None) -> str:
    """Unique for each process, so that history can tell two lives of one host apart."""
    return given or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:NAME_BYTES]}"


def this_worker(name: str, queues: Sequence[str]) -> Worker:
    """This process as the fleet knows it."""
    return Worker(
        name=name, hostname=socket.gethostname(), pid=os.getpid(),
        version=version("lockkeeper"), queues=list(queues), held=0, draining=False,
    )  # fmt: skip
