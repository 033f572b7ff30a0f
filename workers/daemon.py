"""The worker process: its threads, how it starts, and how it drains."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Final
from uuid import uuid4

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.db import make_sessions
from backend.queue import fleet, leases
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Pipeline
from backend.queue.wake import Listener, Notifier
from workers.database import Transactions
from workers.executor import Executor
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.isolation import Children
from workers.producer import Producer
from workers.reaping import Reaper

log = structlog.get_logger(__name__)

NAME_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Policy:
    """How this worker works. Durations are timedeltas, counts are rows."""

    concurrency: int = 8
    children: int = os.cpu_count() or 1
    interval: timedelta = timedelta(seconds=10)
    stall_timeout: timedelta = timedelta(minutes=30)
    grace: timedelta = timedelta(seconds=25)
    ttl: timedelta = leases.DEFAULT_TTL


@dataclass(frozen=True, slots=True)
class Assignment:
    """A pipeline this worker serves; some of its partitions, or all where None."""

    pipeline: Pipeline
    partitions: Sequence[str] | None = None


def worker_name(given: str | None = None) -> str:
    """Unique for each process, so that history can tell two lives of one host apart."""
    return given or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:NAME_BYTES]}"


def _release(queue: Queue, rows: Sequence[Lease], session: Session) -> set[int]:
    return leases.release(session, queue, rows)


class Daemon:
    """Claims, heartbeats, settles and reaps until :meth:`drain`; runs no stranger's code."""

    def __init__(
        self,
        engine: Engine,
        listen_engine: Engine,
        assignments: Sequence[Assignment],
        policy: Policy,
        *,
        name: str | None = None,
    ) -> None:
        self.name = worker_name(name)
        self._policy = policy
        self._stop = threading.Event()
        self._held = Held()
        self._transactions = Transactions(make_sessions(engine, limit=policy.ttl), self._stop)
        self._notifier = Notifier(engine)
        self._children = Children(policy.children)
        self._producers = [self._producer(assignment) for assignment in assignments]
        pipelines = [a.pipeline for a in assignments]
        me = fleet.Worker(
            name=self.name, hostname=socket.gethostname(), pid=os.getpid(),
            version=version("lockkeeper"), queues=[p.queue.name for p in pipelines],
        )  # fmt: skip
        self._heartbeat = Heartbeat(
            [p.queue for p in pipelines], me,
            transactions=self._transactions, held=self._held, ttl=policy.ttl,
        )  # fmt: skip
        self._reaper = Reaper(
            pipelines, worker=self.name, transactions=self._transactions,
            stall_timeout=policy.stall_timeout, ttl=policy.ttl, became_ready=self._became_ready,
        )  # fmt: skip
        self._listener = Listener(listen_engine, self._wake)

    def _producer(self, assignment: Assignment) -> Producer:
        executor = Executor(
            assignment.pipeline, transactions=self._transactions, held=self._held,
            children=self._children,
        )  # fmt: skip
        return Producer(
            assignment.pipeline, executor, worker=self.name, transactions=self._transactions,
            held=self._held, concurrency=self._policy.concurrency,
            interval=self._policy.interval, ttl=self._policy.ttl,
            partitions=assignment.partitions, became_ready=self._became_ready,
        )  # fmt: skip

    def _wake(self, queue: str) -> None:
        for producer in self._producers:
            if producer.queue.name == queue:
                producer.wake()

    def _became_ready(self, queue: str) -> None:
        self._wake(queue)
        self._notifier.ready(queue)

    def start(self) -> None:
        self._heartbeat.start()
        self._listener.start()
        self._reaper.start()
        for producer in self._producers:
            producer.start()
        queues = [producer.queue.name for producer in self._producers]
        log.info("worker.started", worker=self.name, queues=",".join(queues))

    @property
    def healthy(self) -> bool:
        """Every thread that must live is alive."""
        return all(
            thread.is_alive() for thread in (*self._producers, self._heartbeat, self._reaper)
        )

    def drain(self) -> int:
        """Stop claiming, hand back what has not begun, finish what runs within the grace.

        Returns:
            How many rows were still running at the end of the grace and were released.
        """
        began = time.monotonic()
        self._heartbeat.draining = True
        self._reaper.stop()
        for producer in self._producers:
            producer.drain()
        grace_ends = began + self._policy.grace.total_seconds()
        for producer in self._producers:
            producer.join(max(0.0, grace_ends - time.monotonic()))
        left = self._release_rest()
        self._stop.set()
        self._listener.stop()
        self._heartbeat.stop()
        self._heartbeat.join(timeout=5)
        self._leave()
        self._children.close()
        self._notifier.close()
        log.info("worker.stopped", worker=self.name, released=left,
                 drained_ms=round((time.monotonic() - began) * 1000))  # fmt: skip
        return left

    def _release_rest(self) -> int:
        """The grace is over: the attempt is handed back, a late write of it will be refused."""
        left = 0
        for producer in self._producers:
            running = self._held.of(producer.queue)
            if not running:
                continue
            left += len(running)
            try:
                self._transactions.once(partial(_release, producer.queue, running))
                self._notifier.ready(producer.queue.name)
            except SQLAlchemyError as error:
                log.warning("release.failed", queue=producer.queue.name,
                            error=type(error).__name__)  # fmt: skip
        return left

    def _leave(self) -> None:
        try:
            self._transactions.once(lambda session: fleet.leave(session, self.name))
        except SQLAlchemyError as error:
            log.warning("leave.failed", error=type(error).__name__)
