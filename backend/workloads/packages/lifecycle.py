"""The words of a package's life, as two queues over one table."""

from datetime import timedelta
from typing import Final

from backend.queue.lifecycle import Meaning, Queue, Stage
from backend.queue.retry import Backoff

TABLE: Final = "package_status"

LICENCE, DOWNLOAD, INSPECT, SCAN = "licence", "download", "inspect", "scan"
PUBLISH: Final = "Publishing"

RECALLED: Final = Meaning("An approver recalled it: nobody gets it, and no queue works on it.")

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
    meaning={
        "Pending Approval": Meaning(
            "Vetting is finished and policy forbids nothing in it: an approver approves or"
            " rejects it.",
            person=True,
        ),
        "Recalled": RECALLED,
    },
)

PUBLISHING_QUEUE: Final = Queue(
    name="package_publisher",
    table=TABLE,
    ready="Approved",
    stages=(Stage(PUBLISH, "Publishing"),),
    done="Published",
    failed="Rejected",
    resting=("Recalled",),
    uncancellable=("Publishing",),
    max_attempts=4,
    meaning={
        "Approved": Meaning(
            "An approver approved it: it is published once somebody asks for that.", person=True
        ),
        "Published": Meaning("It is published; there is nothing more to do."),
        "Recalled": RECALLED,
    },
)

IN_VETTING: Final = (VETTING_QUEUE.ready, *VETTING_QUEUE.held)
"""Statuses vetting still works on; ``completed_packages`` counts all the others."""
