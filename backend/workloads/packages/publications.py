"""The publisher's tables: what it published, and which version of a package it is at."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words


class Publication(Base):
    """An artifact at a registry. ``tag`` is the dist-tag it got; None where it was there before."""

    __tablename__ = "publications"
    __table_args__ = (
        UniqueConstraint("artifact_id", "target"),
        CheckConstraint(
            in_words("taken_back", ("deprecated", "unpublished", "absent")), name="taken_back"
        ),
        CheckConstraint("num_nonnulls(taken_back, taken_back_at) IN (0, 2)", name="taken_back_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    artifact_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("artifacts.id"))
    target: Mapped[str]
    """The registry's base URL."""
    integrity: Mapped[str]
    shasum: Mapped[str]
    tag: Mapped[str | None]
    verdict_digest: Mapped[str | None]
    """Of the verdict under which it was published."""
    published_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    taken_back: Mapped[str | None]
    taken_back_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PublicationTurn(Base):
    """Which row of a package's versions may write to the registry, while it is ``Publishing``."""

    __tablename__ = "publication_turns"

    ecosystem: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    row_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("package_status.id", ondelete="CASCADE"), index=True
    )
