"""Passing events on: each becomes a delivery for every webhook that wants its kind."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue.lease import Lease
from backend.queue.pipeline import Done
from backend.workloads.webhooks.lifecycle import MAX_ATTEMPTS

ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(7309453671329)"
"""Each sees what the one before it told, and nothing is told twice."""

FAN_OUT: Final = f"""
WITH waiting AS (
  UPDATE events SET dispatched_at = now() WHERE dispatched_at IS NULL RETURNING id, kind
)
INSERT INTO webhook_deliveries (webhook_id, fairness_key, event_id, status, max_attempts)
SELECT webhooks.id, CAST(webhooks.id AS text), waiting.id, 'pending', {MAX_ATTEMPTS}
FROM waiting JOIN webhooks ON active AND kind = ANY (events)
ORDER BY waiting.id, webhooks.id
"""  # noqa: S608 - put together from constants

# Workers of this kind hear of it with the commit; there are few of these.
WAKE: Final = "SELECT pg_notify('lockkeeper_ready', 'deliveries')"

_TAKEN: Final = """
DELETE FROM event_dispatches WHERE id IN (
  SELECT id FROM event_dispatches
  WHERE status = 'dispatched' AND completed_at < now() - interval '1 hour'
  ORDER BY id LIMIT 1000)
"""
_TOLD: Final = """
DELETE FROM events WHERE id IN (
  SELECT id FROM events
  WHERE created_at < now() - interval '30 days' AND dispatched_at IS NOT NULL
    AND NOT EXISTS (
      SELECT FROM webhook_deliveries d
      WHERE d.event_id = events.id AND d.status IN ('pending', 'delivering'))
  ORDER BY id LIMIT 1000)
"""
PRUNE: Final = (_TAKEN, _TOLD)
"""What was passed on is kept for 30 days, with its deliveries, and until these have ended."""


def begin(_lease: Lease, announcements: Sequence[str]) -> Done:
    """There is nothing to do outside the transaction: all that waits is passed on in it."""
    return Done(announcements)


def dispatch(session: Session, _lease: Lease, announcements: Sequence[str]) -> None:
    """Pass on all that had happened when this transaction got its turn.

    Args:
        announcements: the workloads' statements; each emits what follows from their own rows.
    """
    connection = session.connection()
    for statement in (ONE_AT_A_TIME, *announcements):
        connection.exec_driver_sql(statement)
    passed_on: Any = connection.exec_driver_sql(FAN_OUT)
    if passed_on.rowcount:
        connection.exec_driver_sql(WAKE)
    for statement in PRUNE:
        connection.exec_driver_sql(statement)
