"""Two queues: events wait to be passed on, and deliveries to be made."""

from datetime import timedelta
from typing import Final

from backend.queue.lifecycle import Meaning, Queue, Stage
from backend.queue.retry import Backoff

DISPATCHES: Final = "event_dispatches"
DELIVERIES: Final = "webhook_deliveries"

EVENTS_QUEUE: Final = Queue(
    name="events",
    table=DISPATCHES,
    ready="due",
    stages=(Stage("dispatch", "dispatching"),),
    done="dispatched",
    failed="failed",
    max_attempts=20,
    backoff=Backoff(base=timedelta(seconds=1), cap=timedelta(minutes=5)),
    meaning={"dispatched": Meaning("What had happened by then was passed on to the webhooks.")},
)

MAX_ATTEMPTS: Final = 8
DELIVERIES_QUEUE: Final = Queue(
    name="deliveries",
    table=DELIVERIES,
    ready="pending",
    stages=(Stage("deliver", "delivering"),),
    done="delivered",
    failed="failed",
    fair=True,  # of webhooks: one whose receiver is slow holds up no other one's deliveries
    max_attempts=MAX_ATTEMPTS,
    backoff=Backoff(
        schedule=(
            timedelta(seconds=10),
            timedelta(minutes=1),
            timedelta(minutes=5),
            timedelta(minutes=30),
            timedelta(hours=2),
            timedelta(hours=6),
            timedelta(hours=12),
        )
    ),
    meaning={"delivered": Meaning("The receiver answered that it has it.")},
)
