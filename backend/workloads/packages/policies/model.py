"""The tables of policy: every version there ever was, and one word for what is in force.

The versions in force are a chain: each is based on the one before it, and none has two successors.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Timestamp, in_words

NOW = text("now()")


def second_person() -> tuple[CheckConstraint, ...]:
    """Whoever seconds is somebody else, and there is a moment when they did."""
    return (
        CheckConstraint("num_nonnulls(seconded_by, seconded_at) IN (0, 2)", name="seconded"),
        CheckConstraint("seconded_by <> proposed_by", name="second_person"),
    )


class PolicyVersion(Base):
    """A policy that is, was or may come into force; it never changes, but for being seconded.

    ``loosens`` names what lets more through than the version it is based on: with that it needs
    another admin. Nobody proposed the one that was shipped.
    """

    __tablename__ = "policy_versions"
    __table_args__ = (
        *second_person(),
        CheckConstraint(
            "effective_at IS NULL OR cardinality(loosens) = 0 OR seconded_by IS NOT NULL",
            name="loosening_seconded",
        ),
        CheckConstraint("num_nonnulls(based_on, proposed_by) IN (0, 2)", name="shipped"),
        Index(
            "uq_policy_versions_chain",
            "based_on",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("effective_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    based_on: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("policy_versions.id"))
    digest: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    source: Mapped[str]
    """The YAML as it was given."""
    loosens: Mapped[list[str]] = mapped_column(ARRAY(Text))
    reason: Mapped[str | None]
    proposed_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    proposed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    seconded_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    seconded_at: Mapped[datetime | None] = mapped_column(Timestamp)
    effective_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PolicyState(Base):
    """One word for the policy in force and the table of licences; a trigger keeps it.

    ``mark`` is the digest as a number: what is read with every package is one short row.
    """

    __tablename__ = "policy_state"
    __table_args__ = (CheckConstraint("single", name="single"),)

    single: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    mark: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]


class LicenceProposal(Base):
    """A change of the table of licences that lets more through: another admin is to want it, too.

    ``status`` is the tier that the licence is to have, None for its removal; ``was`` the one that
    it had, None for none.
    """

    __tablename__ = "licence_proposals"
    __table_args__ = (
        *second_person(),
        CheckConstraint(
            in_words("status", ("always_allowed", "allowed", "avoid", "blocked")), name="status"
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    replaces: Mapped[str | None]
    """The identifier in the table that is changed or removed; None for a licence that is added."""
    identifier: Mapped[str | None]
    status: Mapped[str | None]
    was: Mapped[str | None]
    proposed_by: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    proposed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    seconded_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    seconded_at: Mapped[datetime | None] = mapped_column(Timestamp)
