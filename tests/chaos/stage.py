"""Where a named fault is played: one server, workers, the rows they were given, and the verdict."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from backend.queue import control
from backend.queue.attempts import Attempt
from backend.queue.entry import enqueue_many
from backend.queue.lifecycle import Queue
from tests.chaos.fleet import ChaosWorker, Fleet, held_by
from tests.chaos.invariants import unrest, violations
from tests.chaos.server import Server
from tests.chaos.workload import LEDGER, QUEUES, Booking

T = TypeVar("T")
TTL: Final = 2.0  # seconds, the default of tests.chaos.worker
GLANCE: Final = 0.05  # seconds


def eventually(check: Callable[[], T], *, within: float = 30.0) -> T:
    """The first true answer of ``check``; AssertionError after ``within`` seconds without one."""
    pause, deadline = threading.Event(), time.monotonic() + within
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {within} s"
        pause.wait(GLANCE)
    return answer


class Stage:
    """The rows of one test at ``server``; ``engine`` goes straight to it, past all proxies."""

    def __init__(self, server: Server, fleet: Fleet, engine: Engine) -> None:
        self.server = server
        self.fleet = fleet
        self.engine = engine
        self.accepted: dict[Queue, set[int]] = {queue: set() for queue in QUEUES}

    def add(self, count: int = 1, *, queue: Queue = LEDGER, kind: str = "plain") -> list[int]:
        with self.engine.begin() as connection:
            ids = enqueue_many(connection, queue, [{"kind": kind}] * count)
        self.accepted[queue] |= set(ids)
        return ids

    def start(self, count: int = 1, **options: Any) -> list[ChaosWorker]:
        """Workers that are ready."""
        started = [self.fleet.start(**options) for _ in range(count)]
        for worker in started:
            worker.wait_ready()
        return started

    def held(self, worker: ChaosWorker) -> set[tuple[str, int, str]]:
        """(queue, row, token) of all that ``worker`` holds."""
        return {(row.queue, row.id, row.token) for row in held_by(self.engine, worker.name)}

    def holding(self, worker: ChaosWorker) -> set[tuple[str, int, str]]:
        """The same, once it holds anything."""
        return eventually(lambda: self.held(worker))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody claims meanwhile."""
        for queue in QUEUES:
            with Session(self.engine) as session, session.begin():
                control.pause(session, queue, by="the stage")
        yield
        for queue in QUEUES:
            with Session(self.engine) as session, session.begin():
                control.resume(session, queue)

    def rest(self, within: float = 60.0) -> None:
        """Until every row has ended; then nothing that was promised may be broken."""
        deadline = time.monotonic() + within
        while moving := unrest(self.engine):
            assert time.monotonic() < deadline, f"not at rest within {within} s: {moving}"
            threading.Event().wait(GLANCE)
        assert violations(self.engine, self.accepted) == []

    def outcomes(self, ids: Iterable[int] | None = None) -> Counter[str]:
        """How the attempts (at the rows ``ids``) ended."""
        wanted = select(Attempt.outcome)
        if ids is not None:
            wanted = wanted.where(Attempt.row_id.in_(list(ids)))
        with self.engine.connect() as connection:
            return Counter(connection.scalars(wanted))

    def effects(self) -> int:
        with self.engine.connect() as connection:
            return len(connection.scalars(select(Booking.times)).all())

    def column(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.scalars(text(statement)))

    def wait_for_lock(self, row_id: int, *, within: float) -> float:
        """Seconds until somebody else can lock the row of the ledger."""
        began = time.monotonic()
        with self.server.admin() as cursor:
            cursor.execute(f"SET lock_timeout = {int(within * 1000)}")
            cursor.execute("SELECT FROM chaos_ledger WHERE id = %s FOR UPDATE", (row_id,))
        return time.monotonic() - began


def quiet_for(seconds: float) -> None:
    """Let time pass where the passing of time is what is tested."""
    threading.Event().wait(seconds)
