"""Events: what others may want to hear of, noted in the transaction in which it happens.

An event is a row, so it is lost or kept together with what it tells of. A worker passes it on to
the webhooks that want it; where none does, nothing is written at all.
"""

import json
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement

REQUEST_FINISHED: Final = "request.finished"
APPROVAL_NEEDED: Final = "approval.needed"
PACKAGE_REJECTED: Final = "package.rejected"
ADVISORY_HIT: Final = "advisory.hit"
RUN_COMPLETED: Final = "run.completed"

KINDS: Final = (
    REQUEST_FINISHED,
    APPROVAL_NEEDED,
    PACKAGE_REJECTED,
    ADVISORY_HIT,
    RUN_COMPLETED,
)
"""What a webhook may ask for."""

PING: Final = "ping"
"""Goes to one webhook alone, when an admin tries it."""

_EMIT: Final = "SELECT emit_event({kind}, {subject}, CAST({detail} AS jsonb))"
_IN_SESSION: Final = text(_EMIT.format(kind=":kind", subject=":subject", detail=":detail"))
_ALONE: Final = Statement(
    _EMIT.format(kind="%(kind)s", subject="%(subject)s", detail="%(detail)s"), kind="event"
)


def emit(
    session: Session | Connection | Autocommit, kind: str, subject: str, detail: dict[str, Any]
) -> None:
    """Note that something happened.

    Sets of rows call the same function of the database:
    ``SELECT emit_event('advisory.hit', 'package:' || id, jsonb_build_object(…)) FROM …``.

    Args:
        session: its transaction holds the event; by an ``Autocommit`` it is committed at once.
        kind: one of :data:`KINDS`.
        subject: "kind:id" of what it happened to: ``request:42``.
        detail: what a receiver needs to act on it, as JSON; never a secret. It leaves the house.
            No name of a person belongs in it: ``{"people": {"requestor": 42}}`` becomes
            ``{"requestor": "ada"}`` whenever it is sent, so that an erased name is in no event.
    """
    values = {"kind": kind, "subject": subject, "detail": json.dumps(detail)}
    if isinstance(session, Autocommit):
        session.rows(_ALONE, values)
    else:
        session.execute(_IN_SESSION, values)
