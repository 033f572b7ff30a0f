"""The tables of the webhooks workload: events, who wants to hear of them, and what was sent.

``events`` is the outbox: filled by the database's function ``emit_event`` alone, in the
transaction of what happened. That function makes sure, too, that a row of ``event_dispatches`` is
due, which is taken only after that transaction has ended: no event is overlooked.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.events import KINDS, PING
from backend.queue.claimable import Claimable, Fair, Timestamp, in_words
from backend.workloads.webhooks.lifecycle import (
    DELIVERIES,
    DELIVERIES_QUEUE,
    DISPATCHES,
    EVENTS_QUEUE,
)

NOW = text("now()")
WANTED = f"ARRAY[{', '.join(repr(kind) for kind in KINDS)}]::text[]"


def _key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)


class Webhook(Base):
    """Where an admin wants events to be sent.

    Its secret is not here: it follows from ``salt`` and WEBHOOK_KEY. ``secret_check`` tells
    whether a process has the key that it was made with.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint(f"cardinality(events) > 0 AND events <@ {WANTED}", name="events"),
        CheckConstraint("length(salt) = 32 AND length(secret_check) = 8", name="secret"),
    )

    id: Mapped[int] = _key()
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    secret_check: Mapped[bytes] = mapped_column(LargeBinary)
    created_by: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Event(Base):
    """Something that happened. ``uid`` is how receivers know it, however often it comes."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint(in_words("kind", (*KINDS, PING)), name="kind"),
        Index("ix_events_waiting", "id", postgresql_where=text("dispatched_at IS NULL")),
    )

    id: Mapped[int] = _key()
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    kind: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW, index=True)
    dispatched_at: Mapped[datetime | None] = mapped_column(Timestamp)


class EventDispatch(Claimable, Base):
    """That there is something to pass on: everything that waits when it is taken."""

    __tablename__ = DISPATCHES
    __queues__ = (EVENTS_QUEUE,)


class WebhookDelivery(Fair, Claimable, Base):
    """One event for one webhook. ``response_status`` is the HTTP status that accepted it."""

    __tablename__ = DELIVERIES
    __queues__ = (DELIVERIES_QUEUE,)

    webhook_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    event_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("events.id", ondelete="CASCADE"), index=True
    )
    response_status: Mapped[int | None] = mapped_column(SmallInteger)
