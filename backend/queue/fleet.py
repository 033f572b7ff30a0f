"""Who works: the table of workers with their heartbeats; and which queues are paused."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, Integer, Text, any_, case, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp


class Worker(Base):
    """One worker process. Alive = heartbeat younger than :data:`ALIVE`."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    hostname: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    held: Mapped[int] = mapped_column(Integer, server_default="0")
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    heartbeat_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    steady_since: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    """Since when no beat was late: see ``reaper.reap``."""


class QueuePause(Base):
    """A queue, or one partition of it ('' = all), that claims leave alone until resumed."""

    __tablename__ = "queue_pauses"

    queue: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[str] = mapped_column(primary_key=True, server_default="")
    paused_by: Mapped[str]
    reason: Mapped[str | None]
    paused_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


ALIVE = timedelta(seconds=15)
FORGOTTEN = timedelta(hours=24)


def late_after(ttl: timedelta) -> timedelta:
    """How long after its last beat a worker is late, who beats every quarter of ``ttl``."""
    return ttl / 2


def beat(session: Session, worker: Worker, *, ttl: timedelta) -> None:
    """Say that ``worker`` lives; the first beat registers it. Forgets those long gone.

    One statement.

    Args:
        ttl: the lease time.
    """
    known = {
        "hostname": worker.hostname, "pid": worker.pid, "version": worker.version,
        "queues": worker.queues, "held": worker.held, "draining": worker.draining,
        "heartbeat_at": func.clock_timestamp(),
    }  # fmt: skip
    in_time = Worker.heartbeat_at > func.clock_timestamp() - late_after(ttl)
    steady = case((in_time, Worker.steady_since), else_=func.clock_timestamp())
    # Not its own row: one statement cannot write a row twice.
    gone = (Worker.heartbeat_at < func.now() - FORGOTTEN) & (Worker.name != worker.name)
    session.execute(
        insert(Worker)
        .values(name=worker.name, **known)
        .on_conflict_do_update(index_elements=["name"], set_={**known, "steady_since": steady})
        .add_cte(delete(Worker).where(gone).cte("forgotten"))
    )


def leave(session: Session, name: str) -> None:
    """The worker stopped cleanly."""
    session.execute(delete(Worker).where(Worker.name == name))


def alive(session: Session, queue: str | None = None) -> list[Worker]:
    """Workers whose heartbeat is fresh; only those that serve ``queue`` where one is named."""
    living = select(Worker).where(Worker.heartbeat_at > func.now() - ALIVE)
    if queue is not None:
        living = living.where(literal(queue) == any_(Worker.queues))
    return list(session.scalars(living.order_by(Worker.name)))


@dataclass(frozen=True, slots=True)
class Sighting:
    """A worker as the database's clock sees it."""

    worker: Worker
    heartbeat_age: timedelta
    alive: bool


def seen(session: Session, queue: str | None = None) -> list[Sighting]:
    """Every worker that is not forgotten yet, also those that went without a word."""
    age = func.clock_timestamp() - Worker.heartbeat_at
    known = select(Worker, age, age < ALIVE).order_by(Worker.name)
    if queue is not None:
        known = known.where(literal(queue) == any_(Worker.queues))
    return [Sighting(*row) for row in session.execute(known)]


def pauses(session: Session, queue: str | None = None) -> list[QueuePause]:
    """What is paused now, of one queue or of all."""
    found = select(QueuePause).order_by(QueuePause.queue, QueuePause.partition)
    if queue is not None:
        found = found.where(QueuePause.queue == queue)
    return list(session.scalars(found))
