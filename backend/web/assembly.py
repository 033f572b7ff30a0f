"""The application with everything this release brings: workloads, health checks, metrics."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.db import make_sessions
from backend.migrations.run import head
from backend.queue import fleet, overview
from backend.queue.wake import Notifier
from backend.settings import Settings
from backend.web.app import create_app
from backend.web.health import Probes, schema_is
from backend.workloads import parts, queues

FROZEN: Final = timedelta(seconds=60)
"""How long a statement of the API may take, and a transaction of a process that hangs."""


def assemble(settings: Settings, engine: Engine) -> Flask:
    """The whole API of this release.

    Raises:
        SettingsError: the secret that signs tokens is missing or weak.
    """
    return create_app(
        settings,
        make_sessions(engine, limit=FROZEN),
        blueprints=[blueprint for part in parts("api") for blueprint in part.BLUEPRINTS],
        probes=Probes(
            checks={"schema": schema_is(head), "workers": a_worker_lives}, metrics=metrics
        ),
        ready=Notifier(engine).ready,
    )


def a_worker_lives(session: Session) -> bool:
    return bool(fleet.alive(session))


def metrics(session: Session) -> Iterator[Metric]:
    """Prometheus families over all queues: depth, age, what is held, outcomes, workers."""
    depth = GaugeMetricFamily(
        "lockkeeper_queue_depth", "Rows, by queue and state.", labels=["queue", "state"]
    )
    oldest = GaugeMetricFamily(
        "lockkeeper_queue_oldest_wait_seconds", "Wait of the oldest ready row.", labels=["queue"]
    )
    for queue in queues():
        now = overview.depth(session, queue)
        for state, count in (("ready", now.ready), ("later", now.later), ("held", now.held)):
            depth.add_metric([queue.name, state], count)
        oldest.add_metric([queue.name], now.oldest_wait_seconds)
    ended = GaugeMetricFamily(
        "lockkeeper_attempts_last_hour", "Attempts that ended.", labels=["queue", "outcome"]
    )
    for (queue_name, outcome), count in overview.outcomes(session, queues()).items():
        ended.add_metric([queue_name, outcome], count)
    workers = GaugeMetricFamily("lockkeeper_workers", "Workers with a fresh heartbeat.")
    workers.add_metric([], len(fleet.alive(session)))
    yield from (depth, oldest, ended, workers)
