"""The columns, constraints and indexes that make a domain table a queue."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from backend.queue.lifecycle import FAILURES, PROCESSING_FAILURES, SUSPECT_STALLS, Queue

Timestamp = DateTime(timezone=True)


class Claimable:
    """Mixin for a table whose rows are work. Set ``__queues__``; documents live in child tables.

    Exactly one word, ``status``, says where a row is. ``lease_token`` fences every write of a
    worker. ``progressed_at`` is set by claim, commit and reported progress, never by a heartbeat,
    so that a hung step is told from a living one. No index names a column a heartbeat writes:
    heartbeats stay HOT updates.
    """

    __queues__: ClassVar[tuple[Queue, ...]]
    __fillfactor__: ClassVar[int] = 100
    """85 for tables with long steps: room for heartbeats to stay HOT (86-96 % against 14 %)."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    status: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    available_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="4")
    stalls: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    rewinds: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    step: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    leased_by: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    heartbeat_at: Mapped[datetime | None] = mapped_column(Timestamp)
    progressed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    failure: Mapped[str | None]
    failed_from: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    completed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - SQLAlchemy calls it on the class
        storage = {"postgresql_with": {"fillfactor": cls.__fillfactor__}}
        return (*constraints(cls.__queues__), *indexes(cls.__queues__), storage)


class Partitioned:
    """Several queues in one table: the ``queue`` column says which."""

    queue: Mapped[str]


class Progressing:
    """Rows that say how far their step is, in percent, see :mod:`backend.queue.reporting`."""

    progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    progress_message: Mapped[str | None]


class Fair:
    """Rows of one ``fairness_key`` (a user, a tenant) cannot starve another's."""

    fairness_key: Mapped[str] = mapped_column(server_default="")


def in_words(column: str, words: Iterable[str]) -> str:
    """``column IN ('a', 'b')`` as SQL text; words come from descriptors, quotes are doubled."""
    quoted = ", ".join("'" + word.replace("'", "''") + "'" for word in dict.fromkeys(words))
    return f"{column} IN ({quoted})"


def constraints(queues: tuple[Queue, ...]) -> list[CheckConstraint]:
    """CHECKs from the union of all lifecycles of one table: illegal states cannot be stored."""
    held = in_words("status", (word for q in queues for word in q.held))
    ready = {q.ready for q in queues}
    ended = in_words("status", (w for q in queues for w in q.ended if w not in ready))
    failed = in_words("status", (w for q in queues for w in (q.failed, q.cancel_word)))
    lease = "num_nonnulls(lease_token, leased_by, lease_expires_at, heartbeat_at)"
    rules = {
        "status": in_words("status", (word for q in queues for word in q.words)),
        "lease": f"{lease} = CASE WHEN {held} THEN 4 ELSE 0 END",
        "failure": f"num_nonnulls(failure, failed_from) = CASE WHEN {failed} THEN 2 ELSE 0 END",
        "failure_word": in_words("failure", FAILURES),
        "failed_from": in_words("failed_from", sorted(ready)),
        "completed": f"(completed_at IS NOT NULL) = ({ended})",
        "priority": "priority BETWEEN 1 AND 10",
        "counters": "attempts >= 0 AND stalls >= 0 AND rewinds >= 0 AND max_attempts >= 1",
    }
    if partitions := [p for q in queues for p in q.partitions or ()]:
        rules["queue"] = in_words("queue", partitions)
    return [CheckConstraint(rule, name=name) for name, rule in rules.items()]


def indexes(queues: tuple[Queue, ...]) -> list[Index]:
    """Partial ones: per queue over ready rows, suspects and dead rows; one over all held rows."""
    table = queues[0].table
    made = [
        Index(
            f"ix_{table}_held",
            "id",
            postgresql_where=text(in_words("status", (w for q in queues for w in q.held))),
        )
    ]
    for queue in queues:
        lane = ["priority", "available_at", "id"]
        if queue.fair:
            lane.insert(1, "fairness_key")
        if queue.partitions:
            lane.insert(0, "queue")
        ready = in_words("status", [queue.ready])
        failed_here = in_words("failed_from", [queue.ready])
        dead = f"{failed_here} AND {in_words('failure', PROCESSING_FAILURES)}"
        made += [
            Index(
                f"ix_{table}_{queue.name}_ready",
                *lane,
                postgresql_where=text(f"{ready} AND stalls < {SUSPECT_STALLS}"),
            ),
            Index(
                f"ix_{table}_{queue.name}_suspect",
                "available_at",
                "id",
                postgresql_where=text(f"{ready} AND stalls >= {SUSPECT_STALLS}"),
            ),
            Index(
                f"ix_{table}_{queue.name}_dead",
                "completed_at",
                "id",
                postgresql_where=text(dead),
            ),
        ]
    return made
