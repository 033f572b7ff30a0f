"""The tables of the tasks workload.

``tasks`` is the queue: one narrow row a task. What it was asked to do is in ``task_inputs``, what
came of it in ``task_results``, which are pruned. Beneath them are the tables of the data that tasks
work on, see :mod:`backend.workloads.tasks.data_model`, and of schedules, see
:mod:`backend.workloads.tasks.schedules.model`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from backend.db import Base
from backend.queue.claimable import (
    Claimable,
    Fair,
    Partitioned,
    Progressing,
    Timestamp,
    in_words,
)
from backend.workloads.tasks.lifecycle import TABLE, TASKS_QUEUE


class Task(Partitioned, Fair, Progressing, Claimable, Base):
    """One task. It belongs to ``submitted_by``, who is its fairness key, too: NULL for the product.

    ``user_id`` is whose data it works on: NULL for everybody's, or for nobody's.
    ``idempotency_key`` is the submitter's own: the same key with the same ``request_digest`` is the
    same task. ``unique_key`` is there while the task is pending for the first time, where it was
    submitted to be the only one of its kind that waits: a trigger drops it once the task is taken.
    """

    __tablename__ = TABLE
    __queues__ = (TASKS_QUEUE,)
    __fillfactor__ = 85

    task_id: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"), unique=True)
    task_type: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    submitted_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    idempotency_key: Mapped[str | None]
    request_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    unique_key: Mapped[bytes | None] = mapped_column(LargeBinary)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - SQLAlchemy calls it on the class
        *engine, storage = super().__table_args__
        return (
            *engine,
            CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
            CheckConstraint("length(task_type) BETWEEN 1 AND 64", name="task_type"),
            CheckConstraint("length(idempotency_key) BETWEEN 1 AND 255", name="idempotency_key"),
            CheckConstraint(
                "(idempotency_key IS NULL) = (request_digest IS NULL)", name="request_digest"
            ),
            CheckConstraint(
                "length(request_digest) = 32 AND length(unique_key) = 32", name="digests"
            ),
            # The product's own tasks work on nobody's data, and are asked for by no request.
            CheckConstraint(
                "submitted_by IS NOT NULL OR num_nonnulls(user_id, idempotency_key) = 0",
                name="own",
            ),
            Index(
                f"ux_{TABLE}_idempotency_key",
                "submitted_by",
                "idempotency_key",
                unique=True,
                postgresql_where=text("idempotency_key IS NOT NULL"),
            ),
            Index(
                f"ux_{TABLE}_unique_key",
                "unique_key",
                unique=True,
                postgresql_where=text("unique_key IS NOT NULL AND status = 'pending'"),
            ),
            Index(f"ix_{TABLE}_submitted_by", "submitted_by", "id"),
            # What somebody looks for among all that is done.
            Index(
                f"ix_{TABLE}_not_done",
                "submitted_by",
                "id",
                postgresql_where=text(
                    in_words("status", (w for w in TASKS_QUEUE.words if w != TASKS_QUEUE.done))
                ),
            ),
            Index(f"ix_{TABLE}_user_id", "user_id", "id"),
            Index(
                f"ix_{TABLE}_ended",
                "completed_at",
                "id",
                postgresql_where=text("completed_at IS NOT NULL"),
            ),
            storage,
        )


class TaskInput(Base):
    """The parameters of a task: readable, or sealed for types that ask for it."""

    __tablename__ = "task_inputs"
    __table_args__ = (CheckConstraint("num_nonnulls(parameters, sealed) = 1", name="parameters"),)

    task: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)


class TaskResult(Base):
    """What a completed task answered; it goes once ``expires_at`` is past."""

    __tablename__ = "task_results"
    __table_args__ = (Index("ix_task_results_expires_at", "expires_at"),)

    task: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    result: Mapped[dict[str, Any]] = mapped_column(JSONB)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
