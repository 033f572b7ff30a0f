"""The statements of decisions: each is for all packages of one batch."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.workloads.packages.advisories.flagging import STANDING
from backend.workloads.packages.denied_versions import COPY_DENIALS, DENIALS
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.waivers.in_force import RESTS_ON_ENDED

_GIVEN: Final = "id = ANY (CAST(%(ids)s AS bigint[]))"
_READY: Final = """
  step = NULL, attempts = 0, stalls = 0, rewinds = 0, failure = NULL, failed_from = NULL,
  error = NULL, completed_at = NULL, updated_at = clock_timestamp()
"""

DECIDER: Final = """
SELECT id FROM users
WHERE id = %(by)s AND active AND role IN ('approver', 'admin') FOR SHARE
"""
"""Nobody takes the role away before this transaction ends."""

LOCK: Final = f"""
SELECT id, artifact_id, status, failed_from, error, verdict_digest, recall
FROM package_status WHERE {_GIVEN} ORDER BY id FOR NO KEY UPDATE
"""  # noqa: S608 - constants of this module

# A snapshot younger than the locks: what another decision waited for is in it.
JUDGED: Final = f"""
SELECT s.id, p.version, may_approve(s.artifact_id, %(by)s) AS may, {DENIALS} AS denials,
  a.sha512 IS NULL AS unseen,
  {COPY_DENIALS} AS copy_denials,
  EXISTS (SELECT FROM advisory_flags g JOIN advisories a ON a.id = g.advisory_id
    WHERE g.artifact_id = s.artifact_id AND {STANDING}) AS flagged,
  {RESTS_ON_ENDED} AS waiver_ended
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
LEFT JOIN artifact_evidence e ON e.artifact_id = a.id
WHERE s.{_GIVEN}
"""  # noqa: S608 - constants of this module

# History is kept for a while only; a row that was tried lately has attempts of its own.
TRIED: Final = f"""
SELECT id FROM package_status s WHERE s.{_GIVEN} AND (attempts > 0 OR stalls > 0 OR EXISTS (
  SELECT FROM attempts h
  WHERE h.queue = '{PUBLISHING_QUEUE.name}' AND h.row_id = s.id
    AND h.outcome <> 'snoozed' AND h.failure IS DISTINCT FROM 'policy'))
"""  # noqa: S608 - constants of this module
"""Those of which something may have been sent to the registry, whatever came of it."""

DECIDE: Final = f"""
INSERT INTO decisions (artifact_id, decision, decided_by, reason, verdict_digest)
SELECT artifact_id, %(decision)s, %(by)s, %(reason)s, verdict_digest
FROM package_status WHERE {_GIVEN} ORDER BY id
"""  # noqa: S608 - constants of this module

APPROVE: Final = f"""
UPDATE package_status
SET status = 'Approved', available_at = CAST(%(available_at)s AS timestamptz),
  max_attempts = {PUBLISHING_QUEUE.max_attempts}, {_READY}
WHERE {_GIVEN}
"""  # noqa: S608 - constants of this module

REFUSE: Final = f"""
UPDATE package_status
SET status = 'Rejected', failure = %(failure)s, failed_from = '{VETTING_QUEUE.ready}',
  error = %(error)s, completed_at = now(), updated_at = clock_timestamp()
WHERE {_GIVEN}
"""  # noqa: S608 - constants of this module

DENIED: Final = f"""
UPDATE package_status SET failure = 'policy', policy_digest = NULL, verdict_digest = NULL
WHERE {_GIVEN}
"""  # noqa: S608 - constants of this module
"""Refused by a person's word, which may be lifted: it is judged anew when it is asked for."""

PUBLISH: Final = f"""
UPDATE package_status SET available_at = now(), updated_at = clock_timestamp()
WHERE {_GIVEN} AND available_at = 'infinity'
"""  # noqa: S608 - constants of this module

RETURN: Final = f"""
UPDATE package_status
SET status = 'Pending Approval', available_at = now(), completed_at = now(),
  updated_at = clock_timestamp()
WHERE {_GIVEN}
"""  # noqa: S608 - constants of this module
"""Approved and never tried: it waits for a person again."""

TAKE_BACK: Final = f"""
UPDATE package_status
SET status = 'Approved', recall = 'asked', available_at = now(),
  max_attempts = {PUBLISHING_QUEUE.max_attempts}, {_READY}
WHERE {_GIVEN}
"""  # noqa: S608 - constants of this module
"""The publisher's to do."""

TAKE_BACK_LATER: Final = f"UPDATE package_status SET recall = 'asked' WHERE {_GIVEN}"  # noqa: S608 - as above
"""It is being published now: afterwards it is taken back."""


def run(session: Session, statement: str, ids: Collection[int], **values: Any) -> int:
    """Run one that writes, for rows that are locked; answers how many it wrote."""
    if not ids:
        return 0
    asked = {"ids": sorted(ids), **values}
    return session.connection().exec_driver_sql(statement, asked).rowcount
