"""The tables of training samples and of the models that were made of them."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words
from backend.workloads.tasks.lifecycle import TABLE as TASKS

NOW: Final = text("now()")
MOST_NAME: Final = 64
MOST_LABEL: Final = 64
MOST_LABELS: Final = 100
"""Different ones on one side, where a model is trained or measured."""
MOST_TEXT: Final = 10_000


class Split(StrEnum):
    """What a sample is for: a model is trained on some, and measured on others."""

    TRAIN = "train"
    TEST = "test"


class TrainingSample(Base):
    """A text and its label, of one user, for models of one name.

    ``digest`` is that of the text as :func:`backend.workloads.tasks.models.samples.digest` reads
    it: a text is there once, whatever its label, so that none is on both sides.
    """

    __tablename__ = "training_samples"
    __table_args__ = (
        CheckConstraint(in_words("split", Split), name="split"),
        CheckConstraint(f"length(model_name) BETWEEN 1 AND {MOST_NAME}", name="model_name"),
        CheckConstraint(f"length(label) BETWEEN 1 AND {MOST_LABEL}", name="label"),
        CheckConstraint(f"length(text) BETWEEN 1 AND {MOST_TEXT}", name="text"),
        CheckConstraint("length(digest) = 32", name="digest"),
        UniqueConstraint("user_id", "model_name", "digest"),
        Index("ix_training_samples_user_id", "user_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    model_name: Mapped[str]
    text: Mapped[str]
    label: Mapped[str]
    split: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class TextModel(Base):
    """One version of a user's model.

    ``sha256``, in hex, and ``size_bytes`` are of the artefact as it was made. What lies under
    ``blob_key`` is encrypted by ``data_key``, which is itself wrapped by the house's key.
    """

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint(f"length(name) BETWEEN 1 AND {MOST_NAME}", name="name"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        UniqueConstraint("user_id", "name", "version"),
        UniqueConstraint("blob_key"),
        Index("ix_models_user_id", "user_id", "id"),
        Index("ix_models_task_row", "task_row", postgresql_where=text("task_row IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    name: Mapped[str]
    version: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str]
    blob_key: Mapped[str]
    data_key: Mapped[bytes] = mapped_column(LargeBinary)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    trained_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    task_row: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey(f"{TASKS}.id", ondelete="SET NULL")
    )
