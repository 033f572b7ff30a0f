"""What a worker counts in batches reads as if each had been counted by the library."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client import Histogram as LibraryHistogram

from backend.queue import leases
from backend.queue.leases import Lease, Settlement
from backend.queue.lifecycle import Queue, Stage
from workers.histograms import Histogram
from workers.metrics import SECONDS, Metrics

QUEUE = Queue(
    name="crates", table="crates", ready="packed", stages=(Stage("open", "opening"),),
    done="opened", failed="broken",
)  # fmt: skip
LEASE = Lease(
    QUEUE, 1, uuid4(), "opening", None, 5, datetime.now(UTC), 1, 4, 0,
    waited=0.02,
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    settlement: Settlement
    ran: float | None
    steps: tuple[tuple[str, float], ...] = ()


def test_the_same_values_are_offered_as_the_library_would_offer_them() -> None:
    disable_created_metrics()  # as a worker does
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    name, text, labels = "lockkeeper_seconds", "Took.", ("queue", "step")
    histogram = Histogram(name, text, labels, registry=ours, buckets=SECONDS)
    library = LibraryHistogram(name, text, labels, registry=theirs, buckets=SECONDS)
    values = [0.0, 0.004, 0.005, 0.0051, 1.0, 1800.0, 1801.5, 60]
    histogram.observe(('"a"\n', "b"), values[:3])
    histogram.observe(('"a"\n', "b"), values[3:])
    histogram.begin(("empty", "b"))
    for value in values:
        library.labels('"a"\n', "b").observe(value)
    library.labels("empty", "b")

    assert generate_latest(ours) == generate_latest(theirs)


def test_a_batch_is_counted_as_its_attempts_are_one_by_one() -> None:
    done, released = leases.done(LEASE), leases.released(LEASE)
    retried = leases.after_error(LEASE, ValueError())
    poison = leases.failed(replace(LEASE, waited=3600.0), "poison", "kills")
    batch = [
        Ended(done, 0.3, (("open", 0.1), ("close", 0.2))), Ended(retried, 0.004, (("open", 7),)),
        Ended(poison, 3000.0), Ended(released, None),
    ]  # fmt: skip
    together, singly = Metrics(["crates"], version="1"), Metrics(["crates"], version="1")
    together.settled("crates", batch)
    together.settled("crates", [])
    for one in batch:
        singly.settled("crates", [one])

    def counted(metrics: Metrics) -> list[str]:
        lines = generate_latest(metrics.registry).decode().splitlines()
        return [line for line in lines if "settle_batch" not in line]

    assert counted(together) == counted(singly)
    value = together.registry.get_sample_value
    queue = {"queue": "crates"}
    assert value("lockkeeper_attempts_total", queue | {"outcome": "done", "failure": ""}) == 1
    assert value("lockkeeper_attempt_run_seconds_count", queue) == 3  # one was never begun
    assert value("lockkeeper_attempt_run_seconds_sum", queue) == 3000.304
    assert value("lockkeeper_attempt_wait_seconds_bucket", queue | {"le": "0.025"}) == 2
    assert value("lockkeeper_step_seconds_count", queue | {"step": "open"}) == 2
    assert value("lockkeeper_retries_total", queue) == 1
    assert value("lockkeeper_poison_rows_total", queue) == 1
    assert value("lockkeeper_settle_batch_rows_sum", queue) == 4
    assert value("lockkeeper_settle_batch_rows_count", queue) == 1
