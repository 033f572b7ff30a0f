"""What admins do with webhooks; takes a session and commits nothing."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, delete, func, insert, select
from sqlalchemy.orm import Session

from backend.events import PING
from backend.identity import audit
from backend.identity.roles import Principal
from backend.outbound.posting import InternalHosts, UrlRefused, permitted
from backend.problems import Conflict, Malformed, NotFound
from backend.queue import control
from backend.queue.entry import enqueue
from backend.queue.lifecycle import FAILURES
from backend.settings import Settings
from backend.workloads.webhooks import signing
from backend.workloads.webhooks.lifecycle import DELIVERIES_QUEUE
from backend.workloads.webhooks.model import Event, Webhook, WebhookDelivery

AT_MOST: Final = 50
"""Webhooks: each event costs a row for every one that wants it."""

_DELIVERIES: Final[Select[*tuple[Any, ...]]] = select(
    WebhookDelivery.id,
    Event.uid.label("event_id"),
    Event.kind,
    Event.subject,
    WebhookDelivery.status,
    WebhookDelivery.failure,
    WebhookDelivery.error,
    WebhookDelivery.attempts,
    WebhookDelivery.max_attempts,
    WebhookDelivery.response_status,
    WebhookDelivery.created_at,
    WebhookDelivery.available_at,
    WebhookDelivery.completed_at,
).join(Event, Event.id == WebhookDelivery.event_id)


def listed(session: Session) -> Sequence[Webhook]:
    return session.scalars(select(Webhook).order_by(Webhook.id)).all()


def one(session: Session, webhook_id: int, *, lock: bool = False) -> Webhook:
    """Raises NotFound."""
    wanted = select(Webhook).where(Webhook.id == webhook_id)
    found = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return found


def add(
    session: Session,
    settings: Settings,
    *,
    url: str,
    events: Collection[str],
    description: str,
    by: Principal,
) -> tuple[Webhook, str]:
    """Make a webhook; answers it and its secret, which nobody is shown again.

    Raises:
        Malformed: the URL is refused.
        Conflict: WEBHOOK_KEY is not set, or there are :data:`AT_MOST` webhooks.
    """
    _check(url, settings)
    salt, secret = _fresh(settings)
    if session.scalar(select(func.count()).select_from(Webhook)) == AT_MOST:
        raise Conflict(f"There are {AT_MOST} webhooks, which is the most.", code="too-many")
    webhook = Webhook(
        url=url, events=sorted(set(events)), description=description, created_by=by.id,
        salt=salt, secret_check=signing.check_of(secret),
    )  # fmt: skip
    session.add(webhook)
    session.flush()
    audit.record(
        session, by, "webhook.created", f"webhook:{webhook.id}", url=url, events=webhook.events
    )
    return webhook, secret


def change(
    session: Session,
    settings: Settings,
    webhook_id: int,
    changes: Mapping[str, Any],
    *,
    by: Principal,
) -> Webhook:
    """Set what ``changes`` names: url, events, description, active.

    Raises:
        NotFound: there is none.
        Malformed: the URL is refused.
    """
    webhook = one(session, webhook_id, lock=True)
    if "url" in changes:
        _check(changes["url"], settings)
    for name, value in changes.items():
        setattr(webhook, name, sorted(set(value)) if name == "events" else value)
    webhook.updated_at = func.now()
    session.flush()
    session.refresh(webhook)
    audit.record(session, by, "webhook.changed", f"webhook:{webhook_id}", **changes)
    return webhook


def remove(session: Session, webhook_id: int, *, by: Principal) -> None:
    """Remove it and its deliveries; what is on its way may still arrive. Raises NotFound."""
    webhook = one(session, webhook_id, lock=True)
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))
    audit.record(session, by, "webhook.removed", f"webhook:{webhook_id}", url=webhook.url)


def rotate(
    session: Session, settings: Settings, webhook_id: int, *, by: Principal
) -> tuple[Webhook, str]:
    """Give it another secret, which signs from now on. Raises NotFound or Conflict."""
    webhook = one(session, webhook_id, lock=True)
    webhook.salt, secret = _fresh(settings)
    webhook.secret_check = signing.check_of(secret)
    webhook.updated_at = func.now()
    session.flush()
    session.refresh(webhook)
    audit.record(session, by, "webhook.secret_rotated", f"webhook:{webhook_id}")
    return webhook, secret


def ping(session: Session, webhook_id: int, *, by: Principal) -> int:
    """Send it an event of its own; answers the delivery's id.

    Raises:
        NotFound: there is none.
        Conflict: it is switched off.
    """
    webhook = one(session, webhook_id)
    if not webhook.active:
        raise Conflict(f"Webhook {webhook_id} is switched off.", code="webhook-inactive")
    made = insert(Event).values(
        kind=PING,
        subject=f"webhook:{webhook_id}",
        detail={"webhook_id": webhook_id, "people": {"sent_by": by.id}},
        dispatched_at=func.now(),
    )
    event_id = session.execute(made.returning(Event.id)).scalar_one()
    delivery_id = enqueue(
        session, DELIVERIES_QUEUE,
        webhook_id=webhook_id, event_id=event_id, fairness_key=str(webhook_id),
    )  # fmt: skip
    audit.record(session, by, "webhook.pinged", f"webhook:{webhook_id}", delivery_id=delivery_id)
    return delivery_id


def deliveries(
    session: Session, webhook_id: int, *, before: int | None, limit: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Newest first. Raises NotFound."""
    one(session, webhook_id)
    wanted = _DELIVERIES.where(WebhookDelivery.webhook_id == webhook_id)
    if before is not None:
        wanted = wanted.where(WebhookDelivery.id < before)
    return session.execute(wanted.order_by(WebhookDelivery.id.desc()).limit(limit)).all()


def redeliver(session: Session, webhook_id: int, delivery_id: int, *, by: Principal) -> None:
    """Send the same event with the same id once more, with all its attempts.

    Raises:
        NotFound: it is no delivery of this webhook.
        Conflict: it has not ended yet.
    """
    known = select(WebhookDelivery.id).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
    )
    if session.scalar(known) is None:
        raise NotFound(f"Webhook {webhook_id} has no delivery {delivery_id}.")
    if not control.reopen(session, DELIVERIES_QUEUE, [delivery_id], failures=FAILURES):
        raise Conflict(f"Delivery {delivery_id} has not ended yet.", code="not-ended")
    audit.record(
        session, by, "webhook.redelivered", f"webhook:{webhook_id}", delivery_id=delivery_id
    )


def _fresh(settings: Settings) -> tuple[bytes, str]:
    """A salt, and the secret that follows from it. Raises Conflict."""
    if settings.webhook_key is None:
        raise Conflict(
            "WEBHOOK_KEY is not set: without it no webhook can have a secret.",
            code="webhook-key-missing",
        )
    salt = secrets.token_bytes(signing.SALT_BYTES)
    return salt, signing.secret_of(settings.webhook_key.get_secret_value(), salt)


def _check(url: str, settings: Settings) -> None:
    """Raises Malformed."""
    try:
        permitted(url, InternalHosts(settings.webhook_internal_hosts))
    except UrlRefused as error:
        raise Malformed(str(error), code="url-refused") from None
