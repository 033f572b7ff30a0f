"""What one worker counts, for Prometheus; ``docs/metrics.md`` says what each metric means."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from backend.queue.leases import Settlement
from backend.queue.reaper import Reaped

NAMESPACE: Final = "lockkeeper"
SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800,
)  # fmt: skip
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
COME_AGAIN: Final = frozenset({"retry", "died"})
"""Outcomes of an attempt that failed and leaves its row to another one."""
BREAKER_STATES: Final = ("closed", "half-open", "open")


class Metrics:
    """One worker's counters, gauges and histograms, in a registry of their own.

    Labels are words of this release and its configuration: queues, steps, outcomes, causes,
    hosts. What a stranger sent never becomes one.
    """

    def __init__(self, queues: Sequence[str], *, version: str) -> None:
        self.registry = CollectorRegistry()
        self._rows(queues)
        self._batches(queues)
        self._process(version)

    def _rows(self, queues: Sequence[str]) -> None:
        self._attempts = self._counter(
            "attempts", "Attempts that ended.", "queue", "outcome", "failure"
        )
        self._run = self._histogram("attempt_run_seconds", "Work on a row, claim to end.")
        self._wait = self._histogram("attempt_wait_seconds", "From due to claimed.")
        self._step = self._histogram("step_seconds", "One run of one step.", "queue", "step")
        self._retries = self._counter("retries", "Attempts that failed and left another one.")
        self._poison = self._counter("poison_rows", "Rows quarantined as poison.")
        self._lost = self._counter("leases_lost", "Leases gone before their row's attempt ended.")
        self._reaped = self._counter("reaped_rows", "Rows taken back from stalled workers.")
        _begin_at_zero(
            queues, self._run, self._wait, self._retries, self._poison, self._lost, self._reaped
        )

    def _batches(self, queues: Sequence[str]) -> None:
        self._claims = self._counter("claims", "Claims answered.", "queue", "result")
        self._claimed = self._counter("claimed_rows", "Rows claimed.")
        self._settled = self._histogram("settle_batch_rows", "Rows settled at once.", buckets=ROWS)
        self._held = self._gauge("held_rows", "Rows held now.", "queue")
        self._capacity = self._gauge("capacity_rows", "Rows that may be held at once.", "queue")
        _begin_at_zero(queues, self._claimed, self._settled)

    def _process(self, version: str) -> None:
        self._started = self._counter("children_started", "Child processes started.", labels=())
    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(
            name, text, labels or ("queue",), namespace=NAMESPACE, registry=self.registry
        )
