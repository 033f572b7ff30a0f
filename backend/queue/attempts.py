"""Append-only history: one line for each attempt that ended, written by what ended it."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words

OUTCOMES: Final = (
    "done", "failed", "retry", "snoozed", "released", "died", "stalled", "cancelled",
)  # fmt: skip


class Attempt(Base):
    """How one attempt at one row ended. No foreign key: history outlives its row."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint(in_words("outcome", OUTCOMES), name="outcome"),
        Index("ix_attempts_row", "queue", "row_id", "id"),
        Index("ix_attempts_ended_at", "ended_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
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
