"""The tables of identity.

A ``Login`` is one sign-in: the family of all access and refresh tokens that descend from it.
Revoking it ends every one of them at once, so that no list of revoked tokens is needed.
Secrets are stored only as hashes: argon2 for what people choose, SHA-256 for 256 random bits.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.identity.roles import Role, Scope

TIMESTAMP = DateTime(timezone=True)
# ASCII only: no two names look alike, none differs from another by normalisation.
USERNAME = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"
NOW = text("now()")
XID = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
"""The number of the transaction that writes, as one that the driver knows."""


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)


def _owner() -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey("users.id"), index=True)


class User(Base):
    """A person, or a machine's account. Never deleted: requests and decisions name their author."""

    __tablename__ = "users"

    id: Mapped[int] = _key()
    username: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    tokens_valid_after: Mapped[datetime] = mapped_column(
        TIMESTAMP, server_default=text("clock_timestamp()")
    )
    """Access tokens that were issued before this moment are refused."""
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=NOW, onupdate=func.now())

    __table_args__ = (
        CheckConstraint(f"role IN ({_words(Role)})", name="role"),
        CheckConstraint(f"username ~ '{USERNAME}'", name="username"),
        Index("uq_users_username", text("lower(username)"), unique=True),
        Index("ix_users_active_admins", "id", postgresql_where=text("role = 'admin' AND active")),
    )


class Login(Base):
    """One sign-in; ``expires_at`` is when its youngest refresh token does."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    user_id: Mapped[int] = _owner()
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)


class RefreshToken(Base):
    """A link in the chain of a login: used once, then replaced by the next."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (CheckConstraint("length(sha256) = 32", name="sha256"),)

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    login_id: Mapped[UUID] = mapped_column(ForeignKey("logins.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)


class ApiKey(Base):
    """A machine's credential: scoped, expiring, shown to its owner once."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("length(sha256) = 32", name="sha256"),
        CheckConstraint(
            f"cardinality(scopes) > 0 AND scopes <@ ARRAY[{_words(Scope)}]::text[]", name="scopes"
        ),
        CheckConstraint("expires_at <= created_at + interval '366 days'", name="expires_at"),
    )

    id: Mapped[int] = _key()
    user_id: Mapped[int] = _owner()
    name: Mapped[str]
    prefix: Mapped[str]
    """The first characters of the key, by which its owner tells it from others."""
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)
    """Kept to the minute: a write per request would cost more than it tells."""
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)


class RateLimit(Base):
    """A leaky bucket, told by one moment: when it will have run empty."""

    __tablename__ = "rate_limits"

    key: Mapped[str] = mapped_column(primary_key=True)
    empty_at: Mapped[datetime] = mapped_column(TIMESTAMP, index=True)


class AuditActor(Base):
    """Whom an entry of the audit log means, under the number of their user.

    Entries hold the number alone: a person's name can be taken out here, and no entry changes.
    Triggers on ``users`` add and rename them.
    """

    __tablename__ = "audit_actors"
    __table_args__ = (CheckConstraint("user_id = id", name="user_id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    """None once the person was erased."""
    name: Mapped[str]


class AuditEntry(Base):
    """Who did what to what. Rows are inserted; the database refuses to change or remove them."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_xid", "xid", postgresql_using="brin"),)

    id: Mapped[int] = _key()
    at: Mapped[datetime] = mapped_column(
        TIMESTAMP, server_default=text("clock_timestamp()"), index=True
    )
    actor_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("audit_actors.id"), index=True
    )
    actor: Mapped[str] = mapped_column(server_default="")
    """The part of the system that acted by itself; empty where a person did."""
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    xid: Mapped[int] = mapped_column(BigInteger, server_default=text(XID))
    """The transaction that wrote it: entries are sealed when all up to theirs have ended."""
