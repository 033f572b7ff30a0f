"""The webhooks workload's work by hand: events passed on, deliveries made, each when it is due."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backend.queue import leases
from backend.queue.pipeline import Pipeline
from backend.workloads.webhooks.pipeline import pipelines
from tests.integration.packages.house import House
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

KEY = "0123456789abcdef0123456789ABCDEF-webhook"
INTERNAL = {"WEBHOOK_KEY": KEY, "WEBHOOK_INTERNAL_HOSTS": "127.0.0.1", "WEBHOOK_TIMEOUT": 2}


HURRY = """
UPDATE event_dispatches SET available_at = now() WHERE id IN (
  SELECT id FROM event_dispatches WHERE status = 'due' FOR UPDATE SKIP LOCKED)
"""


class Courier:
    """A worker of both queues without its threads."""

    def __init__(self, house: House, children: Children) -> None:
        self._database = house.database
        self._transactions = Transactions(house.sessions, threading.Event())
        self._held = Held()
        self._executors = [
            (
                pipeline,
                Executor(
                    pipeline, transactions=self._transactions, held=self._held,
                    children=children, metrics=Metrics([], version="0"),
                ),
            )
            for pipeline in pipelines(house.settings)
        ]  # fmt: skip

    def run(self, *, deliver: bool = True) -> None:
        """Until nothing is due; with ``deliver`` False events are only passed on.

        What happened is passed on at once, not a moment later.
        """
        self._database.run(HURRY)
        for pipeline, executor in self._executors[: 2 if deliver else 1]:
            while claimed := self._claim(pipeline):
                for lease in claimed:
                    self._finish(pipeline, executor, lease)

    def _claim(self, pipeline: Pipeline) -> list[leases.Lease]:
        claimed = self._transactions.once(
            lambda s: leases.claim(s, pipeline.queue, worker="courier", limit=50)
        )
        self._held.add(claimed)
        return claimed

    def _finish(self, pipeline: Pipeline, executor: Executor, lease: leases.Lease) -> None:
        ended = executor.run(lease)
        if ended is not None:
            self._transactions.once(lambda s: leases.settle(s, pipeline.queue, [ended.settlement]))
            self._held.drop(lease)


@contextmanager
def courier_of(house: House) -> Iterator[Courier]:
    children = Children(1)
    try:
        yield Courier(house, children)
    finally:
        children.close()


def add_webhook(house: House, url: str, *events: str) -> dict[str, Any]:
    """Answers the webhook with its secret."""
    body = {"url": url, "events": list(events)}
    answer = house.people.admin("POST", "/api/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def deliveries(house: House, webhook_id: int) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = house.people.admin("GET", f"/api/webhooks/{webhook_id}/deliveries")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["deliveries"]
    return found[::-1]
