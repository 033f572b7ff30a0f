"""What tests do to queue rows from outside: add them, look at them, let their leases run out."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from backend.db import Sessions
from backend.queue import leases, reaper
from backend.queue.attempts import Attempt
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue
from tests.integration.queue.probe_workload import PROBE

MOMENT = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


def ago(interval: str) -> ColumnElement[Any]:
    """The database's clock minus ``interval`` (plus, where it is negative)."""
    return text(f"clock_timestamp() - interval '{interval}'")  # type: ignore[return-value] # as SQL


def horizons(queue: Queue, longest: timedelta = HOUR) -> dict[str, timedelta]:
    return dict.fromkeys(queue.held, longest)


class Rows:
    """The rows of one database, each act in a transaction of its own."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def add(self, queue: Queue = PROBE, /, count: int = 1, **values: Any) -> list[int]:
        row = {"status": queue.ready, "max_attempts": queue.max_attempts, **values}
        if queue.partitions:
            row = {"queue": queue.partitions[0], **row}
        with self.sessions.begin() as session:
            made = insert(queue.rows).values([row] * count).returning(queue.rows.c.id)
            return sorted(session.scalars(made))

    def one(self, queue: Queue = PROBE, /, **values: Any) -> int:
        return self.add(queue, **values)[0]

    def change(self, row_id: int, queue: Queue = PROBE, **values: Any) -> None:
        with self.sessions.begin() as session:
            session.execute(update(queue.rows).where(queue.rows.c.id == row_id).values(**values))

    def row(self, row_id: int, queue: Queue = PROBE) -> Row[Any]:
        with self.sessions.begin() as session:
            return session.execute(select(queue.rows).where(queue.rows.c.id == row_id)).one()

    def statuses(self, queue: Queue = PROBE) -> dict[int, str]:
        with self.sessions.begin() as session:
            found = session.execute(select(queue.rows.c.id, queue.rows.c.status))
            return {row.id: row.status for row in found}

    def history(self, row_id: int | None = None) -> list[Attempt]:
        wanted = select(Attempt).order_by(Attempt.id)
        if row_id is not None:
            wanted = wanted.where(Attempt.row_id == row_id)
        with self.sessions.begin() as session:
            return list(session.scalars(wanted))

    def outcomes(self, row_id: int | None = None) -> list[str]:
        return [line.outcome for line in self.history(row_id)]

    def claim(self, queue: Queue = PROBE, *, limit: int = 100, **how: Any) -> list[Lease]:
        with self.sessions.begin() as session:
            return leases.claim(session, queue, worker=how.pop("worker", "w"), limit=limit, **how)

    def claim_one(self, queue: Queue = PROBE, **how: Any) -> Lease:
        (lease,) = self.claim(queue, limit=1, **how)
        return lease

    def claim_suspect(self, queue: Queue = PROBE, worker: str = "w") -> Lease | None:
        with self.sessions.begin() as session:
            return leases.claim_suspect(session, queue, worker=worker)

    def expire(self, *row_ids: int, queue: Queue = PROBE) -> None:
        for row_id in row_ids:
            self.change(row_id, queue, lease_expires_at=ago("1 second"))

    def reap(
        self, queue: Queue = PROBE, longest: timedelta = HOUR, ttl: timedelta = MOMENT
    ) -> list[reaper.Reaped]:
        with self.sessions.begin() as session:
            return reaper.reap(session, queue, horizons=horizons(queue, longest), ttl=ttl)

    def settle(self, *settlements: leases.Settlement) -> set[int]:
        with self.sessions.begin() as session:
            return leases.settle(session, settlements[0].lease.queue, settlements)


def eventually(check: Callable[[], Any], *, within: float = 15.0) -> Any:
    """The first true answer of ``check``; fails the test after ``within`` seconds without one."""
    pause, deadline = threading.Event(), time.monotonic() + within
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {within} s"
        pause.wait(0.02)
    return answer


def changed(before: Row[Any], after: Row[Any]) -> Mapping[str, tuple[Any, Any]]:
    """Columns that differ, old and new."""
    old, new = before._mapping, after._mapping
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}
