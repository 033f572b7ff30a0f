"""Prometheus families that the database answers: queues, history, workers.

``docs/metrics.md`` says what each metric means.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.queue import fleet, gauges, overview
from backend.queue.fleet import QueuePause, Worker
from backend.queue.lifecycle import Queue
from backend.queue.overview import Depth


def families(session: Session, queues: Sequence[Queue]) -> Iterator[Metric]:
    """All of them, from one transaction."""
    yield from _depth(session, queues)
    yield from _partitions(session, queues)
    yield from _held(session, queues)
    yield from _trouble(session, queues)
    yield _outcomes(session, queues)
    yield _pauses(session, queues)
    yield from _workers(fleet.alive(session), queues)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _depth(session: Session, queues: Iterable[Queue]) -> Iterator[Metric]:
    depth = _gauge("lockkeeper_queue_depth", "Rows, by state.", "queue", "state")
    oldest = _gauge(
        "lockkeeper_queue_oldest_wait_seconds", "Wait of the oldest ready row.", "queue"
    )
    for queue in queues:
        now = overview.depth(session, queue)
        for state, count in _states(now):
            depth.add_metric([queue.name, state], count)
        oldest.add_metric([queue.name], now.oldest_wait_seconds)
    yield from (depth, oldest)


def _partitions(session: Session, queues: Iterable[Queue]) -> Iterator[Metric]:
    """What workers of single partitions are scaled by."""
    depth = _gauge(
        "lockkeeper_partition_depth", "Rows of a partition, by state.",
        "queue", "partition", "state",
    )  # fmt: skip
    oldest = _gauge(
        "lockkeeper_partition_oldest_wait_seconds", "Wait of a partition's oldest ready row.",
        "queue", "partition",
    )  # fmt: skip
    for queue in queues:
        for partition, now in overview.depths(session, queue).items():
            for state, count in _states(now):
                depth.add_metric([queue.name, partition, state], count)
            oldest.add_metric([queue.name, partition], now.oldest_wait_seconds)
    yield from (depth, oldest)


def _states(now: Depth) -> Iterable[tuple[str, int]]:
    return ("ready", now.ready), ("later", now.later), ("held", now.held)


def _held(session: Session, queues: Iterable[Queue]) -> Iterator[Metric]:
    held = _gauge("lockkeeper_queue_held_rows", "Held rows, by status.", "queue", "status")
    oldest = _gauge(
        "lockkeeper_queue_oldest_progress_seconds",
        "Since the held row that is slowest last made progress.",
        "queue",
    )
    for queue in queues:
        by_status = gauges.holding(session, queue)
        for status, holding in by_status.items():
            held.add_metric([queue.name, status], holding.rows)
        slowest = max(holding.oldest_progress for holding in by_status.values())
        oldest.add_metric([queue.name], slowest)
    yield from (held, oldest)


def _trouble(session: Session, queues: Iterable[Queue]) -> Iterator[Metric]:
    suspects = _gauge(
        "lockkeeper_queue_suspect_rows", "Rows that stalled twice and wait to run alone.", "queue"
    )
    dead = _gauge(
        "lockkeeper_queue_dead_rows", "Rows that failed in processing.", "queue", "failure"
    )
    for queue in queues:
        suspects.add_metric([queue.name], gauges.suspects(session, queue))
        for failure, count in gauges.dead(session, queue).items():
            dead.add_metric([queue.name, failure], count)
    yield from (suspects, dead)


def _outcomes(session: Session, queues: Iterable[Queue]) -> Metric:
    ended = _gauge("lockkeeper_attempts_last_hour", "Attempts that ended.", "queue", "outcome")
    for (queue, outcome), count in overview.outcomes(session, queues).items():
        ended.add_metric([queue, outcome], count)
    return ended


def _pauses(session: Session, queues: Iterable[Queue]) -> Metric:
    """Of each queue and, where they are paused alone, of its partitions."""
    paused = _gauge(
        "lockkeeper_queue_paused", "1 where claims leave it alone.", "queue", "partition"
    )
    known = {(queue.name, ""): 0 for queue in queues}
    names = {queue.name for queue in queues}
    for pause in session.execute(select(QueuePause.queue, QueuePause.partition)):
        if pause.queue in names:
            known[pause.queue, pause.partition] = 1
    for (name, partition), value in known.items():
        paused.add_metric([name, partition], value)
    return paused


def _workers(alive: Sequence[Worker], queues: Iterable[Queue]) -> Iterator[Metric]:
    workers = _gauge("lockkeeper_workers", "Workers with a fresh heartbeat.")
    workers.add_metric([], len(alive))
    serving = _gauge("lockkeeper_queue_workers", "Those that claim from a queue.", "queue")
    for queue in queues:
        claiming = [w for w in alive if queue.name in w.queues and not w.draining]
        serving.add_metric([queue.name], len(claiming))
    versions = _gauge(
        "lockkeeper_workers_by_version", "Workers, by their release.", "version", "draining"
    )
    counted = Counter((worker.version, str(worker.draining).lower()) for worker in alive)
    for labels, count in counted.items():
        versions.add_metric(labels, count)
    yield from (workers, serving, versions)
