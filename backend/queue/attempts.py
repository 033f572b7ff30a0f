"""Append-only history: one line for each attempt that ended, written by what ended it."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words

OUTCOMES: Final = (
    "done", "failed", "retry", "snoozed", "released", "died", "stalled", "cancelled",
)  # fmt: skip

# Not an identity: a partitioned table may have one from PostgreSQL 17 on only.
IDS: Final = Sequence("attempts_id_seq", metadata=Base.metadata)


class Attempt(Base):
    """How one attempt at one row ended. No foreign key: history outlives its row.

    In partitions of a week by ``ended_at``: see :mod:`backend.queue.retention`.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint(in_words("outcome", OUTCOMES), name="outcome"),
        # The key of a partitioned table holds the column it is partitioned by; it serves as the
        # index on that column, too.
        PrimaryKeyConstraint("ended_at", "id"),
        Index("ix_attempts_row", "queue", "row_id", "id"),
        {"postgresql_partition_by": "RANGE (ended_at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, server_default=IDS.next_value())
    queue: Mapped[str]
    row_id: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[UUID | None]
    worker: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    step: Mapped[str | None]
    outcome: Mapped[str]
    failure: Mapped[str | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime] = mapped_column(Timestamp)
