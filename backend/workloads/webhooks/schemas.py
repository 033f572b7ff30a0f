"""What the webhooks API reads and answers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from backend.identity.schemas import Input, Moment, Output, RowId

Kind = Literal[
    "request.finished", "approval.needed", "package.rejected", "advisory.hit", "run.completed"
]
Kinds = Annotated[list[Kind], Field(min_length=1, max_length=5)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class ById(BaseModel):
    id: RowId


class OfWebhook(ById):
    delivery_id: RowId


class Page(BaseModel):
    """Keyset pagination: pass the last answer's ``next`` as ``before``."""

    before: RowId | None = None
    limit: int = Field(50, ge=1, le=200)


class WebhookIn(Input):
    """``url`` is https, without user name, query and fragment."""

    url: Url
    events: Kinds
    description: Description = ""


class WebhookChange(Input):
    """What is left out stays."""

    url: Url = ""
    events: Kinds = Field(default_factory=list, min_length=1)
    description: Description = ""
    active: bool = True


class WebhookOut(Output):
    id: int
    url: str
    description: str
    events: list[str]
    active: bool
    created_at: Moment
    updated_at: Moment


class WebhookWithSecret(WebhookOut):
    """``secret`` is shown this once."""

    secret: str


class WebhooksOut(BaseModel):
    webhooks: list[WebhookOut]


class DeliveryOut(Output):
    """``event_id`` is the ``Lockkeeper-Id`` that the receiver sees."""

    id: int
    event_id: UUID
    kind: str
    subject: str
    status: str
    failure: str | None
    error: str | None
    attempts: int
    max_attempts: int
    response_status: int | None
    created_at: Moment
    available_at: Moment
    completed_at: Moment | None


class DeliveriesOut(BaseModel):
    deliveries: list[DeliveryOut]
    next: int | None


class QueuedOut(BaseModel):
    delivery_id: int
    message: str
