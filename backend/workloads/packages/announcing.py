"""What the packages workload tells others: requests that finished, and what waits for approval.

A request that is uploaded while a webhook wants to hear of its end is watched: the database puts a
row here in the upload's transaction, and again where what failed in processing is queued anew. A
watch points to one package that vetting still works on. It is looked at only once that one has
ended; it moves on to another, or there is none: the request has finished, and the watch goes with
the transaction that notes so. The settling of a package costs nothing but a word that somebody
look soon (see the migration ``0008_webhooks``).

``package.rejected`` is noted where the row is rejected, whoever does it, by a trigger.
"""

from typing import Final

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import in_words
from backend.workloads.packages.lifecycle import IN_VETTING, VETTING_QUEUE

_WORKED_ON: Final = in_words("s.status", IN_VETTING)


class RequestWatch(Base):
    """A request whose end is still to be told; ``awaits`` is an artifact that it waits for."""

    __tablename__ = "request_watches"

    request_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("requests.id"), primary_key=True)
    awaits: Mapped[int | None] = mapped_column(BigInteger)


ANNOUNCE: Final = f"""
WITH stirred AS MATERIALIZED (
  SELECT request_id FROM request_watches w
  WHERE NOT EXISTS (
    SELECT FROM package_status s WHERE s.artifact_id = w.awaits AND {_WORKED_ON})
), seen AS MATERIALIZED (
  SELECT request_id, (
    SELECT rp.artifact_id
    FROM request_packages rp JOIN package_status s ON s.artifact_id = rp.artifact_id
    WHERE rp.request_id = stirred.request_id AND {_WORKED_ON}
    ORDER BY rp.id DESC LIMIT 1) AS awaits
  FROM stirred
), moved AS (
  UPDATE request_watches w SET awaits = seen.awaits
  FROM seen WHERE w.request_id = seen.request_id AND seen.awaits IS NOT NULL
), ended AS (
  DELETE FROM request_watches w
  USING seen WHERE w.request_id = seen.request_id AND seen.awaits IS NULL
  RETURNING w.request_id AS id
), counted AS (
  SELECT id, sum(packages) AS packages, jsonb_object_agg(status, packages) AS status_counts
  FROM (
    SELECT ended.id, s.status, count(*) AS packages
    FROM ended
    JOIN request_packages rp ON rp.request_id = ended.id
    JOIN package_status s ON s.artifact_id = rp.artifact_id
    GROUP BY ended.id, s.status) each
  GROUP BY id
), told AS (
  SELECT r.id, jsonb_build_object(
    'request_id', r.id,
    'application_name', r.application_name,
    'application_version', r.version,
    'people', jsonb_build_object('requestor', r.requestor_id),
    'total_packages', coalesce(c.packages, 0),
    'status_counts', coalesce(c.status_counts, '{{}}')) AS detail
  FROM ended JOIN requests r ON r.id = ended.id
  LEFT JOIN counted c ON c.id = r.id
  WHERE r.withdrawn_at IS NULL
)
SELECT emit_event('request.finished', 'request:' || id, detail),
  CASE WHEN detail -> 'status_counts' ? '{VETTING_QUEUE.done}'
    THEN emit_event('approval.needed', 'request:' || id, detail) END
FROM told
"""  # noqa: S608 - put together from constants
"""Told once: who runs it does so one at a time, and sees all that had ended by then."""
