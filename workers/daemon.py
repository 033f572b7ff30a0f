"""The worker process: its threads, how it starts, and how it drains."""

import threading
import time
from collections import ChainMap
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from importlib.metadata import version

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.audit.signing import Signer
from backend.db import make_sessions
from backend.queue import fleet, leases
from backend.queue.duty import Duty
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue
from backend.queue.pipeline import Pipeline
from backend.queue.turn import Turns
from backend.queue.wake import Listener, Notifier, cancelled
from backend.queue.writes import Writes
from workers.assignment import Assignment, Policy, this_worker, worker_name
from workers.database import Transactions
from workers.duties import Caller, OnDuty
from workers.executor import Executor
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics
from workers.producer import Producer
from workers.reaping import Reaper
from workers.retention import Retention
from workers.sealing import Sealer
from workers.suspects import Suspects
from workers.turning import SteadyTurns

__all__ = ["Assignment", "Daemon", "Policy", "worker_name"]

log = structlog.get_logger(__name__)

DUTY = timedelta(minutes=1)
"""A worker that is frozen in the middle of a duty keeps its locks so long at most."""
LAST_WORDS = 2.0  # seconds past the grace period for a process that releases its row


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
        alone: Sequence[str] = (),
        beat_engine: Engine | None = None,
        signer: Signer | None = None,
        duties: Sequence[Duty] = (),
    ) -> None:
        """The worker of ``assignments``.

        Args:
            engine: for everything that is not named here.
            listen_engine: to the server itself; a pooler in transaction mode cannot LISTEN.
            assignments: what it serves.
            policy: how.
            name: of this worker, where it has been told one.
            alone: the command that runs one suspect; without it others must do that.
            beat_engine: for heartbeats alone. Steps that wait for a lock may have every
                connection of ``engine``.
            signer: of the audit log's seals.
            duties: what is done by the clock besides.
        """
        self.name = worker_name(name)
        self._policy = policy
        self._engine = engine
        self._stop = threading.Event()
        self._held = Held()
        release = version("lockkeeper")
        self.metrics = Metrics([a.pipeline.queue.name for a in assignments], version=release)
        self._transactions = Transactions(make_sessions(engine, limit=policy.ttl), self._stop)
        self._writes = Writes(engine, ttl=policy.ttl)
        self._notifier = Notifier(engine)
        self._children = Children(policy.children, happened=self.metrics.child)
        pipelines = [a.pipeline for a in assignments]
        me = this_worker(self.name, [p.queue.name for p in pipelines])
        self._heartbeat = Heartbeat(
            [p.queue for p in pipelines], me,
            transactions=Transactions(
                make_sessions(beat_engine or engine, limit=policy.ttl), self._stop
            ),
            held=self._held, ttl=policy.ttl, metrics=self.metrics,
        )  # fmt: skip
        self._producers = [self._producer(assignment) for assignment in assignments]
        self._suspects = Suspects(
            assignments, alone, worker=self.name, transactions=self._transactions,
            grace=policy.grace, metrics=self.metrics,
        )  # fmt: skip
        self._reaper = Reaper(
            assignments, worker=self.name, transactions=self._transactions,
            stall_timeout=policy.stall_timeout, ttl=policy.ttl, interval=policy.interval,
            became_ready=self._became_ready, attend=self._suspects.attend, expect=self._expect,
            metrics=self.metrics,
        )  # fmt: skip
        sessions, statements = make_sessions(engine, limit=DUTY), self._writes.statements
        chores = (
            Retention(transactions=self._transactions, keep=policy.retention),
            Sealer(transactions=self._transactions, signer=signer),
            *(
                OnDuty(
                    duty, sessions=sessions, statements=statements, became_ready=self._became_ready
                )
                for duty in duties
            ),
        )
        conditional = [one for one in chores if one.due]
        self._by_the_clock = (*chores, Caller(conditional, statements=statements))
        self._listener = Listener(listen_engine, self._heard, lost=self.metrics.listener_lost)
        self._observe(pipelines)

    def _producer(self, assignment: Assignment) -> Producer:
        executor = Executor(
            assignment.pipeline, transactions=self._transactions, held=self._held,
            children=self._children, metrics=self.metrics,
            ttl=self._policy.ttl, beat=self._heartbeat.beat, writes=self._writes,
        )  # fmt: skip
        queue = assignment.pipeline.queue
        turns = Turns(self._engine, queue, limit=self._policy.ttl / 2)
        return Producer(
            assignment.pipeline, executor, worker=self.name, transactions=self._transactions,
            turns=SteadyTurns(queue, turns, self._transactions), held=self._held,
            policy=self._policy, partitions=assignment.partitions,
            became_ready=self._became_ready,
        )  # fmt: skip

    def _observe(self, pipelines: Sequence[Pipeline]) -> None:
        """What is not counted as it happens but looked up when somebody asks."""
        for one in self._producers:
            self.metrics.watch_queue(
                one.queue.name, held=partial(self._held.count, one.queue), capacity=one.capacity
            )
        self.metrics.watch_worker(silence=lambda: self.silence, draining=lambda: self.draining)
        breakers = [pipeline.breakers for pipeline in pipelines]
        self.metrics.watch_breakers(lambda: dict(ChainMap(*(b.states() for b in breakers))))

    def _heard(self, hint: str) -> None:
        self.metrics.heard()
        if (queue := cancelled(hint)) is None:
            self._wake(hint)
        elif any(p.queue.name == queue and self._held.count(p.queue) for p in self._producers):
            self._heartbeat.beat()  # which finds what is held no more, and stops it

    def _wake(self, queue: str) -> None:
        for producer in self._producers:
            if producer.queue.name == queue:
                producer.wake()
                self._reaper.hint()

    def _expect(self, queue: str, wait: float | None) -> None:
        for producer in self._producers:
            if producer.queue.name == queue:
                producer.expect(wait)

    def _became_ready(self, queue: str) -> None:
        self._wake(queue)
        self._notifier.ready(queue)

    def start(self) -> None:
        self._heartbeat.start()
        self._listener.start()
        self._reaper.start()
        for one in self._by_the_clock:
            one.start()
        self._suspects.start()
        for producer in self._producers:
            producer.start()
        queues = [producer.queue.name for producer in self._producers]
        log.info("worker.started", worker=self.name, queues=",".join(queues))

    @property
    def healthy(self) -> bool:
        """No thread that must live has died, and no queue has only threads that hang.

        Before they start and in a drain none must live.
        """
        threads = (*self._producers, self._heartbeat, self._reaper, self._suspects)
        alive = all(t.ident is None or t.is_alive() for t in threads)
        return self.draining or (alive and not any(p.hangs for p in self._producers))

    @property
    def held_up(self) -> list[str]:
        """The queues of which nothing was claimed or settled for longer than that may take."""
        return [one.queue.name for one in self._producers if one.held_up]

    @property
    def draining(self) -> bool:
        return self._heartbeat.draining

    @property
    def silence(self) -> float:
        """Seconds since the database last took a heartbeat; infinite before the first."""
        return self._heartbeat.silence

    def drain(self) -> int:
        """Stop claiming, hand back what has not begun, finish what runs within the grace.

        Returns:
            How many rows were still running at the end of the grace and were released.
        """
        began = time.monotonic()
        log.info("worker.draining", worker=self.name, held=len(self._held),
                 grace_s=round(self._policy.grace.total_seconds()))  # fmt: skip
        self._heartbeat.draining = True
        self._reaper.stop()
        for one in self._by_the_clock:
            one.stop()
        self._suspects.stop()
        for producer in self._producers:
            producer.drain()
        grace_ends = began + self._policy.grace.total_seconds()
        for producer in self._producers:
            producer.join(max(0.0, grace_ends - time.monotonic()))
        left = self._release_rest()
        self._suspects.join(max(0.0, grace_ends - time.monotonic()) + LAST_WORDS)
        self._stop.set()
        self._listener.stop()
        self._heartbeat.stop()
        self._heartbeat.join(timeout=5)
        self._leave()
        self._children.close()
        for producer in self._producers:
            producer.close()
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
