"""The webhooks workload's work: events are passed on, deliveries are made."""

from datetime import timedelta
from typing import Final

from backend.queue.pipeline import Pipeline, Step
from backend.settings import Settings
from backend.workloads import discover
from backend.workloads.webhooks import delivering, dispatching
from backend.workloads.webhooks.lifecycle import DELIVERIES_QUEUE, EVENTS_QUEUE

SLACK: Final = timedelta(seconds=30)  # for a resolver that is slow


def pipelines(settings: Settings) -> list[Pipeline]:
    """What a worker with these settings can do.

    Raises:
        SettingsError: WEBHOOK_CA_FILE cannot be used.
    """
    announcements = [one for w in discover() for one in getattr(w, "ANNOUNCEMENTS", ())]
    return [
        Pipeline(
            queue=EVENTS_QUEUE,
            tools=announcements,
            batch=1,
            steps=(Step("dispatch", dispatching.begin, dispatching.dispatch),),
        ),
        Pipeline(
            queue=DELIVERIES_QUEUE,
            read=delivering.read,
            tools=delivering.Sending.of(settings),
            steps=(
                Step(
                    "deliver",
                    delivering.deliver,
                    write=delivering.delivered,
                    timeout=settings.webhook_timeout + SLACK,
                ),
            ),
        ),
    ]
