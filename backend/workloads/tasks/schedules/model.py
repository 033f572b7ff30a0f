"""The tables of schedules, and of what came of each of their times."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp
from backend.workloads.tasks.lifecycle import TABLE
from backend.workloads.tasks.schedules.cron import MAX_LENGTH

NOW: Final = text("now()")
NAME: Final = "^[a-z][a-z0-9._-]{0,63}$"
"""What a schedule may be called: never a number, which is what it may be asked for by, too."""


class Schedule(Base):
    """A task that is submitted by the clock, for ``created_by``: NULL for the product's own.

    ``next_fire_at`` is the first time that is still to be dealt with: NULL while it is paused.
    ``moved_at`` is when that was found, by the database's clock: where it is later than now, the
    clock was put back meanwhile. ``user_id`` is whose data the tasks work on, as a submitter says.
    """

    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME}'", name="name"),
        CheckConstraint(f"length(cron) BETWEEN 9 AND {MAX_LENGTH}", name="cron"),
        CheckConstraint("length(timezone) BETWEEN 1 AND 64", name="timezone"),
        CheckConstraint("length(task_type) BETWEEN 1 AND 64", name="task_type"),
        CheckConstraint("num_nonnulls(parameters, sealed) = 1", name="parameters"),
        CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
        CheckConstraint("catch_up IN ('one', 'all', 'none')", name="catch_up"),
        CheckConstraint("created_by IS NOT NULL OR user_id IS NULL", name="own"),
        Index("ux_schedules_name", text("coalesce(created_by, 0)"), "name", unique=True),
        Index("ix_schedules_created_by", "created_by", "id"),
        Index("ix_schedules_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
        Index("ix_schedules_next_fire_at", "next_fire_at"),
        Index(
            "ix_schedules_moved_at",
            "moved_at",
            postgresql_where=text("next_fire_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str]
    created_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    task_type: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    unique_pending: Mapped[bool] = mapped_column(server_default="true")
    cron: Mapped[str]
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    catch_up: Mapped[str] = mapped_column(server_default="one")
    next_fire_at: Mapped[datetime | None] = mapped_column(Timestamp)
    moved_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    last_fired_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class ScheduleFire(Base):
    """What came of one time of a schedule; there is one row for each that is past.

    A task was ``submitted``; one was ``waiting`` already, which does for this time; the time was
    ``skipped`` because workers were away; or the task was ``refused``, for ``reason``.
    """

    __tablename__ = "schedule_fires"
    __table_args__ = (
        CheckConstraint(
            "outcome IN ('submitted', 'waiting', 'skipped', 'refused')", name="outcome"
        ),
        CheckConstraint("(outcome = 'refused') = (reason IS NOT NULL)", name="reason"),
        CheckConstraint("task_row IS NULL OR outcome IN ('submitted', 'waiting')", name="task_row"),
        Index(
            "ix_schedule_fires_task_row",
            "task_row",
            postgresql_where=text("task_row IS NOT NULL"),
        ),
    )

    schedule_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True
    )
    fire_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    outcome: Mapped[str]
    task_row: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="SET NULL")
    )
    reason: Mapped[str | None]
    fired_at: Mapped[datetime] = mapped_column(Timestamp)
