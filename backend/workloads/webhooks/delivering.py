"""One delivery: the event as a signed document, posted to the webhook's URL."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from backend.autocommit import Autocommit, Statement
from backend.outbound.posting import InternalHosts, Poster, Unanswered, UrlRefused
from backend.queue.pipeline import Done, Reject
from backend.queue.retry import Permanent, Transient
from backend.queue.writes import Write
from backend.settings import Settings, SettingsError
from backend.workloads.webhooks import signing


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one attempt needs; ``timestamp`` is the database's clock, in seconds since 1970."""

    url: str
    active: bool
    salt: bytes
    secret_check: bytes
    uid: UUID
    kind: str
    subject: str
    detail: dict[str, Any]
    created_at: datetime
    timestamp: int

    def body(self) -> bytes:
        """The same bytes in every attempt, but for the name of a person erased in between."""
        document = {
            "id": str(self.uid),
            "type": self.kind,
            "created_at": self.created_at.astimezone(UTC).isoformat(),
            "subject": self.subject,
            "data": self.detail,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


# Events hold people's numbers alone.
_NAMED: Final = """(e.detail - 'people') || coalesce((
  SELECT jsonb_object_agg(person.role, u.username)
  FROM jsonb_each(e.detail -> 'people') AS person(role, number)
  JOIN users u ON u.id = CAST(person.number AS bigint)), '{}')"""
READ: Final = Statement(f"""
SELECT w.url, w.active, w.salt, w.secret_check, e.uid::text AS uid, e.kind, e.subject,
  {_NAMED} AS detail, e.created_at,
  extract(epoch FROM clock_timestamp())::bigint AS timestamp
FROM webhook_deliveries d
JOIN webhooks w ON w.id = d.webhook_id
JOIN events e ON e.id = d.event_id
WHERE d.id = %(row_id)s
""")  # noqa: S608 - put together from constants


def read(statements: Autocommit, row_id: int) -> Delivery | None:
    """None where the webhook is gone, and the delivery with it."""
    rows = statements.rows(READ, {"row_id": row_id})
    if not rows:
        return None
    given = rows[0]._asdict()
    secret = {name: bytes(given[name]) for name in ("salt", "secret_check")}
    return Delivery(**{**given, **secret, "uid": UUID(given["uid"])})


@dataclass(frozen=True, slots=True)
class Sending:
    """The tools of a worker; without ``key`` nothing can be signed."""

    poster: Poster
    key: str | None

    @classmethod
    def of(cls, settings: Settings) -> "Sending":
        """Raises SettingsError."""
        key = settings.webhook_key
        try:
            poster = Poster(
                InternalHosts(settings.webhook_internal_hosts),
                ca_file=settings.webhook_ca_file,
                timeout=settings.webhook_timeout,
            )
        except OSError as error:
            raise SettingsError(f"WEBHOOK_CA_FILE cannot be used: {error}") from None
        return cls(poster, key.get_secret_value() if key else None)

    def secret(self, delivery: Delivery) -> str:
        """Raises Transient: this worker has no key, or not the one of the API."""
        if self.key is None:
            raise Transient("WEBHOOK_KEY is not set for this worker: nothing can be signed")
        secret = signing.secret_of(self.key, delivery.salt)
        if signing.check_of(secret) != delivery.secret_check:
            raise Transient(
                "WEBHOOK_KEY is not the one that this webhook's secret was made with: restore it,"
                " or rotate the secret"
            )
        return secret


def deliver(delivery: Delivery, sending: Sending) -> Done | Reject:
    """Post the event. Runs outside any transaction and may run twice: receivers go by the id.

    Raises:
        Transient: no answer, or one that a receiver may give otherwise later.
        Permanent: the URL is refused, redirects, or is gone for good.
    """
    if not delivery.active:
        return Reject("the webhook is switched off")
    body = delivery.body()
    secret = sending.secret(delivery)
    headers = signing.headers(secret, delivery.timestamp, delivery.uid, delivery.kind, body)
    try:
        status = sending.poster.post(delivery.url, headers, body)
    except UrlRefused as error:
        raise Permanent(str(error)) from None
    except Unanswered as error:
        raise Transient(str(error)) from None
    refuse(status)
    return Done(status)


def refuse(status: int) -> None:
    """Nothing for a status that says: received (2xx); raises as :func:`deliver` does."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own classes
        return
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own classes
        raise Permanent(f"the receiver answered {status}: redirects are not followed")
    if status == HTTPStatus.GONE:
        raise Permanent(f"the receiver answered {status}: it wants no more")
    raise Transient(f"the receiver answered {status}")


def delivered(status: int) -> Write:
    """The row keeps how it was accepted."""
    return Write((), {"response_status": status}, (("response_status", ":response_status"),))
