"""The words of a package's life, as two queues over one table."""

from datetime import timedelta
from typing import Final

from backend.queue.lifecycle import Queue, Stage
from backend.queue.retry import Backoff

TABLE: Final = "package_status"

LICENCE, DOWNLOAD, INSPECT, SCAN = "licence", "download", "inspect", "scan"

VETTING_QUEUE: Final = Queue(
    name="packages",
    table=TABLE,
    ready="Requested",
    stages=(
        Stage(LICENCE, "Checking Licence"),
        Stage(DOWNLOAD, "Downloading", leaves="Downloaded"),
        Stage(INSPECT, "Security Scanning"),
        Stage(SCAN, "Security Scanning"),
    ),
    done="Pending Approval",
    failed="Rejected",
    resting=("Recalled",),
    max_attempts=4,
    backoff=Backoff(base=timedelta(seconds=2), cap=timedelta(minutes=5)),
)

PUBLISHING_QUEUE: Final = Queue(
    name="package_publisher",
    table=TABLE,
    ready="Approved",
    stages=(Stage("Publishing", "Publishing"),),
    done="Published",
    failed="Rejected",
    resting=("Recalled",),
    max_attempts=4,
)

IN_VETTING: Final = (VETTING_QUEUE.ready, *VETTING_QUEUE.held)
"""Statuses vetting still works on; ``completed_packages`` counts all the others."""
