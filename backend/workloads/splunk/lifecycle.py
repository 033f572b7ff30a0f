"""The words of an ingestion run's life."""

from datetime import timedelta
from typing import Final

from backend.queue.lifecycle import Meaning, Queue, Stage
from backend.queue.retry import Backoff

TABLE: Final = "ingestion_runs"
PARSE: Final = "parse"

SPLUNK_QUEUE: Final = Queue(
    name="splunk",
    table=TABLE,
    ready="stored",
    stages=(Stage(PARSE, "parsing"),),
    done="complete",
    failed="failed",
    entering=("pending",),
    fair=True,  # of users: one who uploads a hundred archives holds up nobody else's
    max_attempts=4,
    backoff=Backoff(
        schedule=(timedelta(seconds=60), timedelta(seconds=180), timedelta(seconds=600))
    ),
    meaning={
        "pending": Meaning("It is being uploaded; once its bytes are safe it is to be parsed."),
        "complete": Meaning("It is parsed: its files and stanzas can be asked about."),
    },
)
