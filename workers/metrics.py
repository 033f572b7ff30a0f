"""What one worker counts, for Prometheus; ``docs/metrics.md`` says what each metric means."""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from backend.queue.leases import Settlement
from backend.queue.reaper import Reaped
from workers.histograms import Histogram

SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800,
)  # fmt: skip
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
COME_AGAIN: Final = frozenset({"retry", "died"})
"""Outcomes of an attempt that failed and leaves its row to another one."""
QUEUE: Final = ("queue",)


class Attempted(Protocol):
    """An attempt that this worker carried to its end."""

    @property
    def settlement(self) -> Settlement: ...

    @property
    def ran(self) -> float | None:
        """Seconds; None where no step was begun."""

    @property
    def steps(self) -> Sequence[tuple[str, float]]:
        """Each run of a step: the stage's name and seconds."""


class Metrics:
    """One worker's counters, gauges and histograms, in a registry of their own.

    Labels are words of this release and of its configuration: queues, steps, outcomes, causes,
    hosts. What a stranger sent never becomes one.
    """

    def __init__(self, queues: Sequence[str], *, version: str) -> None:
        disable_created_metrics()  # in the whole process; a third more lines that nothing reads
        self.registry = CollectorRegistry()
        self._declare_rows(queues)
        self._declare_batches(queues)
        self._declare_process(version)

    def _declare_rows(self, queues: Iterable[str]) -> None:
        counter = partial(_labelled, self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=SECONDS)
        self._attempts = counter(
            "lockkeeper_attempts_total",
            "Attempts that this worker ended.",
            ("queue", "outcome", "failure"),
        )
        self._run = seconds("lockkeeper_attempt_run_seconds", "Time spent on an attempt.", QUEUE)
        self._wait = seconds(
            "lockkeeper_attempt_wait_seconds", "From the moment a row was due to its claim.", QUEUE
        )
        self._step = seconds(
            "lockkeeper_step_seconds", "One run of a step, its loading included.", ("queue", "step")
        )
        self._retries = counter(
            "lockkeeper_retries_total", "Failed attempts that leave another one.", QUEUE
        )
        self._poison = counter("lockkeeper_poison_rows_total", "Rows quarantined.", QUEUE)
        self._lost = counter("lockkeeper_leases_lost_total", "Leases found lost.", QUEUE)
        self._reaped = counter(
            "lockkeeper_reaped_rows_total", "Rows taken back from stalled workers.", QUEUE
        )
        _begin_at_zero(
            queues, (self._run, self._wait),
            (self._retries, self._poison, self._lost, self._reaped),
        )  # fmt: skip

    def _declare_batches(self, queues: Iterable[str]) -> None:
        counter = partial(_labelled, self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self._claims = counter(
            "lockkeeper_claims_total", "Claims, by what they found.", ("queue", "found")
        )
        self._claimed = counter("lockkeeper_claimed_rows_total", "Rows claimed.", QUEUE)
        self._batch = Histogram(
            "lockkeeper_settle_batch_rows", "Rows settled in one statement.", QUEUE,
            buckets=ROWS, registry=self.registry,
        )  # fmt: skip
        self._held = gauge("lockkeeper_held_rows", "Rows held now.", QUEUE)
        self._capacity = gauge("lockkeeper_capacity_rows", "Rows held at once, at most.", QUEUE)
        _begin_at_zero(queues, (self._batch,), (self._claimed,))

    def _declare_process(self, version: str) -> None:
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self._children = counter(
            "lockkeeper_children_total", "Child processes, by what became of them.", ("event",)
        )
        self._beats_failed = counter("lockkeeper_heartbeats_failed_total", "Failed heartbeats.")
        self._heard = counter("lockkeeper_notifications_total", "Hints heard from the database.")
        self._listener_lost = counter(
            "lockkeeper_listener_lost_total", "Times the listening connection was lost."
        )
        self._silence = gauge(
            "lockkeeper_database_silence_seconds", "Since the last heartbeat that was taken."
        )
        self._draining = gauge("lockkeeper_draining", "1 while this worker drains.")
        build = gauge("lockkeeper_build_info", "The release that runs.", ("version",))
        build.labels(version).set(1)

    def settled(self, queue: str, batch: Sequence[Attempted]) -> None:
        """All that one statement stored; what was lost or is yet to be settled is not in it."""
        if not batch:
            return
        labels = (queue,)
        self._batch.observe(labels, (len(batch),))
        ends = Tally([(one.settlement.outcome, one.settlement.failure) for one in batch])
        for (outcome, failure), times in ends.items():
            self.attempt(queue, outcome, failure, times)
        self._run.observe(labels, [one.ran for one in batch if one.ran is not None])
        self._wait.observe(
            labels, [one.settlement.lease.waited for one in batch if one.ran is not None]
        )
        steps = defaultdict[str, list[float]](list)
        for one in batch:
            for step, seconds in one.steps:
                steps[step].append(seconds)
        for step, runs in steps.items():
            self._step.observe((queue, step), runs)

    def attempt(self, queue: str, outcome: str, failure: str | None, times: int = 1) -> None:
        """So many more attempts ended so, and history says so."""
        self._attempts(queue, outcome, failure or "").inc(times)
        if outcome in COME_AGAIN:
            self._retries(queue).inc(times)
        if failure == "poison":
            self._poison(queue).inc(times)

    def stepped(self, queue: str, step: str, seconds: float) -> None:
        self._step.observe((queue, step), (seconds,))

    def lost(self, queue: str, rows: int = 1) -> None:
        self._lost(queue).inc(rows)

    def reaped(self, queue: str, rows: Sequence[Reaped]) -> None:
        self._reaped(queue).inc(len(rows))
        self._poison(queue).inc(sum(row.failure == "poison" for row in rows))

    def claimed(self, queue: str, rows: int) -> None:
        self._claims(queue, "rows" if rows else "nothing").inc()
        self._claimed(queue).inc(rows)

    def child(self, happened: str) -> None:
        """One started, or ended: see :class:`workers.isolation.Children` for the words."""
        self._children.labels(happened).inc()

    def heartbeat_failed(self) -> None:
        self._beats_failed.inc()

    def heard(self) -> None:
        self._heard.inc()

    def listener_lost(self) -> None:
        self._listener_lost.inc()

    def watch_queue(self, queue: str, *, held: Callable[[], int], capacity: int) -> None:
        """Ask ``held`` at each scrape."""
        self._held.labels(queue).set_function(held)
        self._capacity.labels(queue).set(capacity)

    def watch_worker(self, *, silence: Callable[[], float], draining: Callable[[], bool]) -> None:
        """Ask at each scrape; ``silence`` is in seconds."""
        self._silence.set_function(silence)
        self._draining.set_function(draining)

    def watch_breakers(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Ask ``states`` at each scrape: closed, half-open or open, by the host's name."""
        self.registry.register(_Breakers(states))


def _labelled(
    registry: CollectorRegistry, name: str, documentation: str, labels: Sequence[str]
) -> Callable[..., Counter]:
    """A counter by the values of its labels, each looked up once."""
    return cache(Counter(name, documentation, labels, registry=registry).labels)


def _begin_at_zero(
    queues: Iterable[str],
    histograms: Iterable[Histogram],
    counters: Iterable[Callable[..., Counter]],
) -> None:
    """A rate needs to have seen the zero before the one."""
    for queue in queues:
        for histogram in histograms:
            histogram.begin((queue,))
        for counter in counters:
            counter(queue)


class _Breakers(Collector):
    """One sample for each host and state, 1 for the state it is in."""

    STATES: Final = ("closed", "half-open", "open")

    def __init__(self, states: Callable[[], Mapping[str, str]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "lockkeeper_breaker_state", "1 for the state a host's breaker is in.",
            labels=("host", "state"),
        )  # fmt: skip
        for host, current in sorted(self._states().items()):
            for state in self.STATES:
                family.add_metric([host, state], state == current)
        yield family
