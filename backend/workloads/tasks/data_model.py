"""The tables of the data that tasks work on: each row is one user's, but for the reviewed claims.

Every moment lies between 1900 and 2200: what reads it need not fear one that no calendar holds.
"""

from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words

NOW: Final = text("now()")
EMPTY: Final = text("'{}'")
MOST_TEXT: Final = 20_000
"""Characters of what was said in one interaction."""
MOST_REFERENCES: Final = 50
"""Of one interaction, or one review."""
MOST_BLOCKS: Final = 100
"""Of one goal."""


class Complexity(StrEnum):
    """How much a goal asks for."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class GoalStatus(StrEnum):
    """Where a goal is."""

    OPEN = "open"
    DONE = "done"
    ABANDONED = "abandoned"


class BlockStatus(StrEnum):
    """Where a block of a goal is."""

    TODO = "todo"
    DOING = "doing"
    DONE = "done"


class DebtKind(StrEnum):
    """Why a claim is owed something."""

    UNFALSIFIABLE = "unfalsifiable"
    UNVERIFIED = "unverified"
    VAGUE = "vague"


class Severity(StrEnum):
    """How much a debt matters, the least first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class DebtStatus(StrEnum):
    """Whether a debt is still owed."""

    OPEN = "open"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """How a debt was resolved."""

    VERIFIED = "verified"
    CORRECTED = "corrected"
    RETRACTED = "retracted"
    CITED = "cited"
    CLARIFIED = "clarified"
    DISMISSED = "dismissed"


class Verdict(StrEnum):
    """What a review says of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    MISLEADING = "misleading"
    UNPROVEN = "unproven"


def _key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)


def _owner() -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey("users.id"))


def _created() -> Mapped[datetime]:
    return mapped_column(Timestamp, server_default=NOW)


def _words(column: str, words: Iterable[str]) -> CheckConstraint:
    return CheckConstraint(in_words(column, words), name=column)


def _length(column: str, most: int, least: int = 1) -> CheckConstraint:
    return CheckConstraint(f"length({column}) BETWEEN {least} AND {most}", name=f"{column}_length")


def _between(column: str) -> CheckConstraint:
    return CheckConstraint(
        f"{column} >= '1900-01-01T00:00:00Z' AND {column} < '2200-01-01T00:00:00Z'",
        name=f"{column}_range",
    )


def _full(column: str, least: int, most: int) -> CheckConstraint:
    """Of an array: how many it holds, none of them NULL."""
    return CheckConstraint(
        f"cardinality({column}) BETWEEN {least} AND {most}"
        f" AND array_position({column}, NULL) IS NULL",
        name=column,
    )


class AriSnapshot(Base):
    """One metric of one user at one moment."""

    __tablename__ = "ari_snapshots"
    __table_args__ = (
        UniqueConstraint("user_id", "taken_at", "metric"),  # in this order for windows of time
        _length("metric", 64),
        CheckConstraint("value > '-Infinity' AND value < 'Infinity'", name="value"),
        _between("taken_at"),
        Index("ix_ari_snapshots_user_id", "user_id", "id"),
        Index("ix_ari_snapshots_taken_at", "taken_at", "id"),
    )

    id: Mapped[int] = _key()
    user_id: Mapped[int] = _owner()
    metric: Mapped[str]
    value: Mapped[float] = mapped_column(Double)
    taken_at: Mapped[datetime] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created()


class Goal(Base):
    """What somebody wants to reach. ``external_id`` is the owner's own name of it."""

    __tablename__ = "goals"
    __table_args__ = (
        UniqueConstraint("user_id", "external_id"),
        _length("title", 200),
        _length("description", MOST_TEXT, least=0),
        _length("external_id", 200),
        _words("complexity_level", Complexity),
        _words("status", GoalStatus),
        CheckConstraint(
            "target_date >= DATE '1900-01-01' AND target_date < DATE '2200-01-01'",
            name="target_date_range",
        ),
        Index("ix_goals_user_id", "user_id", "id"),
    )

    id: Mapped[int] = _key()
    user_id: Mapped[int] = _owner()
    external_id: Mapped[str | None]
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    complexity_level: Mapped[str] = mapped_column(server_default=Complexity.MEDIUM.value)
    status: Mapped[str] = mapped_column(server_default=GoalStatus.OPEN.value)
    target_date: Mapped[date | None] = mapped_column(Date)
    planned_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created()


class GoalBlock(Base):
    """One sitting's work for a goal.

    ``depends_on`` names blocks of the same goal with smaller numbers: no circle can be stored. A
    trigger sees to it, at the commit, that they are there.
    """

    __tablename__ = "goal_blocks"
    __table_args__ = (
        CheckConstraint(f"block_no BETWEEN 1 AND {MOST_BLOCKS}", name="block_no"),
        _length("title", 200),
        _length("description", MOST_TEXT, least=0),
        CheckConstraint("minutes BETWEEN 15 AND 90", name="minutes"),
        CheckConstraint(
            "array_position(depends_on, NULL) IS NULL"
            " AND 0 < ALL (depends_on) AND block_no > ALL (depends_on)",
            name="depends_on",
        ),
        _words("status", BlockStatus),
        CheckConstraint("(status = 'done') = (done_at IS NOT NULL)", name="done_at"),
        _between("done_at"),
    )

    goal_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("goals.id", ondelete="CASCADE"), primary_key=True
    )
    block_no: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    minutes: Mapped[int] = mapped_column(Integer)
    depends_on: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=EMPTY)
    status: Mapped[str] = mapped_column(server_default=BlockStatus.TODO.value)
    done_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created()


class Interaction(Base):
    """What a user said at one moment.

    ``external_id`` is the owner's own name of it. The same words at the same moment are the same
    interaction, whatever it is called.
    """

    __tablename__ = "interactions"
    __table_args__ = (
        UniqueConstraint("user_id", "external_id"),
        UniqueConstraint("id", "user_id"),  # what a debt refers to
        _between("occurred_at"),
        _length("text", MOST_TEXT),
        _length("source", 200),
        _length("external_id", 200),
        _full("citations", 0, MOST_REFERENCES),
        Index("ux_interactions_said", "user_id", "occurred_at", text("md5(text)"), unique=True),
        Index("ix_interactions_user_id", "user_id", "id"),
        Index("ix_interactions_occurred_at", "occurred_at", "id"),
    )

    id: Mapped[int] = _key()
    user_id: Mapped[int] = _owner()
    external_id: Mapped[str | None]
    occurred_at: Mapped[datetime] = mapped_column(Timestamp)
    text: Mapped[str]
    source: Mapped[str | None]
    citations: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=EMPTY)
    created_at: Mapped[datetime] = _created()


class Debt(Base):
    """A claim in an interaction that somebody should still support, or take back.

    It is its interaction's owner's. ``sentence_digest`` is SHA-256 of what makes two sentences the
    same: however often an interaction is analysed, it holds one debt of a kind for each.
    """

    __tablename__ = "debts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["interaction_id", "user_id"],
            ["interactions.id", "interactions.user_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("interaction_id", "kind", "sentence_digest"),
        _words("kind", DebtKind),
        _words("severity", Severity),
        _words("status", DebtStatus),
        _words("resolution_method", Resolution),
        _length("sentence", MOST_TEXT),
        _length("reason", 2000),
        _length("resolution_note", 2000),
        CheckConstraint("length(sentence_digest) = 32", name="sentence_digest"),
        CheckConstraint(
            "num_nonnulls(resolved_at, resolution_method)"
            " = CASE WHEN status = 'resolved' THEN 2 ELSE 0 END",
            name="resolved",
        ),
        CheckConstraint("resolution_note IS NULL OR status = 'resolved'", name="note"),
        _between("resolved_at"),
        Index("ix_debts_user_id", "user_id", "id"),
    )

    id: Mapped[int] = _key()
    user_id: Mapped[int] = mapped_column(BigInteger)
    interaction_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    severity: Mapped[str]
    sentence: Mapped[str]
    sentence_digest: Mapped[bytes] = mapped_column(LargeBinary)
    reason: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=DebtStatus.OPEN.value)
    resolution_method: Mapped[str | None]
    resolution_note: Mapped[str | None]
    resolved_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created()


class ReviewedClaim(Base):
    """A claim that was reviewed, and what supports the verdict: the knowledge base of all."""

    __tablename__ = "reviewed_claims"
    __table_args__ = (
        _length("claim", 2000),
        _words("verdict", Verdict),
        _length("explanation", MOST_TEXT),
        _full("sources", 1, MOST_REFERENCES),
        _length("topic", 200),
        _between("reviewed_at"),
        Index("ux_reviewed_claims_claim", text("md5(claim)"), unique=True),
        Index("ix_reviewed_claims_reviewed_by", "reviewed_by"),
    )

    id: Mapped[int] = _key()
    claim: Mapped[str]
    verdict: Mapped[str]
    explanation: Mapped[str]
    sources: Mapped[list[str]] = mapped_column(ARRAY(Text))
    topic: Mapped[str | None]
    reviewed_by: Mapped[int] = _owner()
    reviewed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    created_at: Mapped[datetime] = _created()
