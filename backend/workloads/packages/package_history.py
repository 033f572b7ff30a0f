"""What became of packages: of one all that happened to it, of all who approved what."""

from collections.abc import Sequence
from typing import Any, Final

from backend.autocommit import Autocommit, Statement
from backend.problems import NotFound
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE

LAST: Final = 2**63 - 1  # no id is greater

_UTC: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""


def _time(column: str) -> str:
    return f"to_char({column} AT TIME ZONE 'UTC', {_UTC})"


HISTORY: Final = Statement(f"""
SELECT s.id, p.name, p.version, p.purl, s.status, s.recall, s.failure, s.error, s.verdict_digest,
  coalesce((
    SELECT json_agg(json_build_object('queue', h.queue, 'attempt', h.attempt, 'step', h.step,
      'outcome', h.outcome, 'failure', h.failure, 'error', h.error, 'worker', h.worker,
      'started_at', {_time("h.started_at")}, 'ended_at', {_time("h.ended_at")})
      ORDER BY h.ended_at, h.id)
    FROM attempts h
    WHERE h.queue IN ('{VETTING_QUEUE.name}', '{PUBLISHING_QUEUE.name}') AND h.row_id = s.id
  ), '[]') AS attempts,
  coalesce((
    SELECT json_agg(json_build_object('result', c.result, 'score', c.score,
      'scanned_at', {_time("c.scanned_at")}) ORDER BY c.id)
    FROM security_scans c WHERE c.artifact_id = s.artifact_id), '[]') AS scans,
  coalesce((
    SELECT json_agg(json_build_object('decision', d.decision, 'decided_by', u.username,
      'reason', d.reason, 'verdict_digest', d.verdict_digest,
      'decided_at', {_time("d.decided_at")}) ORDER BY d.id)
    FROM decisions d JOIN users u ON u.id = d.decided_by
    WHERE d.artifact_id = s.artifact_id), '[]') AS decisions
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.id = %(id)s
""")  # noqa: S608 - words of this release

APPROVALS: Final = Statement("""
SELECT d.id, s.id AS package_id, p.name, p.version, s.status, d.decided_at AS approved_at,
  u.username AS approver, d.reason, asked.id AS request_id, asked.application_name,
  asked.version AS application_version, asked.username AS requestor
FROM decisions d
JOIN users u ON u.id = d.decided_by
JOIN artifacts a ON a.id = d.artifact_id
JOIN packages p ON p.id = a.package_id
JOIN package_status s ON s.artifact_id = a.id
LEFT JOIN LATERAL (
  SELECT r.id, r.application_name, r.version, o.username
  FROM request_packages w
  JOIN requests r ON r.id = w.request_id
  JOIN users o ON o.id = r.requestor_id
  WHERE w.artifact_id = a.id ORDER BY r.id LIMIT 1) asked ON true
WHERE d.decision = 'approve' AND d.id < %(before)s
ORDER BY d.id DESC LIMIT %(limit)s
""")


def history(statements: Autocommit, row_id: int) -> Any:
    """Attempts, scans and decisions, each oldest first. Raises NotFound."""
    found = statements.rows(HISTORY, {"id": row_id})
    if not found:
        raise NotFound(f"There is no package {row_id}.")
    return found[0]


def approvals(statements: Autocommit, *, before: int | None, limit: int) -> Sequence[Any]:
    """Newest first, those with ids under ``before``; each with the first request that asked."""
    return statements.rows(APPROVALS, {"before": before or LAST, "limit": limit})
