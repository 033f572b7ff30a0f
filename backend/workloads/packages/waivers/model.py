"""The tables of waivers: what two people agreed to bear, and what still rests on one that ended."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp
from backend.workloads.packages.policies.model import second_person

NOW = text("now()")

LONGEST: Final = timedelta(days=180)
"""From the proposal to the end."""


def _person(*, nullable: bool) -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey("users.id"), nullable=nullable)


class StoredWaiver(Base):
    """One package's versions in ``range``, and one finding or licence that is borne in them.

    It is in force from ``seconded_at`` until ``revoked_at`` or ``expires_at``. It never changes,
    but for what happens to it: each of these happens once. ``applied_at`` and ``ended_at`` are when
    the packages that it concerns were judged again because of its beginning and its end.
    """

    __tablename__ = "waivers"
    __table_args__ = (
        *second_person(),
        CheckConstraint("num_nonnulls(finding, licence) = 1", name="one_matter"),
        CheckConstraint("component IS NULL OR finding IS NOT NULL", name="component"),
        CheckConstraint("finding NOT ILIKE 'MAL-%'", name="no_malware"),
        CheckConstraint("name <> '' AND trim(range) NOT IN ('', '*')", name="not_everything"),
        CheckConstraint(
            "expires_at > proposed_at AND expires_at - proposed_at <= interval '180 days'",
            name="expires",
        ),
        CheckConstraint(
            "num_nonnulls(revoked_by, revoked_at, revoked_because) IN (0, 3)", name="revoked"
        ),
        CheckConstraint("seconded_at < expires_at", name="seconded_in_time"),
        CheckConstraint(
            "num_nonnulls(applied_at, ended_at) = 0 OR seconded_at IS NOT NULL", name="acted_upon"
        ),
        Index(
            "ix_waivers_package",
            "ecosystem",
            "name",
            postgresql_where=text("seconded_at IS NOT NULL AND revoked_at IS NULL"),
        ),
        Index(
            "ix_waivers_due",
            "expires_at",
            postgresql_where=text("seconded_at IS NOT NULL AND ended_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    ecosystem: Mapped[str]
    name: Mapped[str]
    range: Mapped[str]
    """In npm's words: ``>=1.2.0 <1.4.0``."""
    finding: Mapped[str | None]
    """An advisory's id, or one of its aliases; or what else a finding is called."""
    component: Mapped[str | None]
    """The bundled package that the finding is about; None for the package itself."""
    licence: Mapped[str | None]
    reason: Mapped[str]
    proposed_by: Mapped[int] = _person(nullable=False)
    proposed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    seconded_by: Mapped[int | None] = _person(nullable=True)
    seconded_at: Mapped[datetime | None] = mapped_column(Timestamp)
    applied_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_by: Mapped[int | None] = _person(nullable=True)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_because: Mapped[str | None]
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class WaiverFlag(Base):
    """A waiver that ended while a published package's verdict rested on it.

    It stands while the package is published, unless ``covered_by`` names another waiver, in force,
    of the same matter.
    """

    __tablename__ = "waiver_flags"
    __table_args__ = (Index("uq_waiver_flags_once", "artifact_id", "waiver_id", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    artifact_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("artifacts.id"))
    waiver_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("waivers.id"), index=True)
    since: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    covered_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("waivers.id"), index=True)
