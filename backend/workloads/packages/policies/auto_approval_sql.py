"""Approval by policy: the admins who put ``auto_approve`` into force decided in advance.

The decision is theirs, whoever of the two may take it: neither approves what they requested
themselves, and then it waits for a person like everything else. So does what anybody ever rejected
or recalled, and what was judged by a policy that is not in force any more.
"""

from typing import Final

from backend.autocommit import Statement
from backend.queue.writes import OURS
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE

_WAITS: Final = f"id = %(row_id)s AND {OURS} AND status = '{VETTING_QUEUE.done}'"

DECIDE: Final = Statement(f"""
WITH judged AS (
  SELECT id, artifact_id, verdict_digest FROM package_status s
  WHERE {_WAITS} AND policy_digest = (SELECT digest FROM policy_state) AND NOT EXISTS (
    SELECT FROM decisions d WHERE d.artifact_id = s.artifact_id AND d.decision <> 'approve')
), policy AS (
  SELECT id, seconded_by, proposed_by FROM policy_versions
  WHERE effective_at IS NOT NULL ORDER BY id DESC LIMIT 1
), decided AS (
  INSERT INTO decisions (artifact_id, decision, decided_by, reason, verdict_digest)
  SELECT artifact_id, 'approve', person.id, 'approved by policy version ' || policy.id,
    verdict_digest
  FROM judged, policy, LATERAL (
    SELECT who.id FROM unnest(ARRAY[policy.seconded_by, policy.proposed_by]) AS who(id)
    WHERE who.id IS NOT NULL AND may_approve(judged.artifact_id, who.id) LIMIT 1) person
  RETURNING decided_by, reason
)
INSERT INTO audit_log (actor, action, subject, detail)
SELECT 'policy', 'package.approved', 'package:' || judged.id,
  jsonb_build_object('reason', decided.reason, 'decided_by', decided.decided_by)
FROM judged, decided
""")  # noqa: S608 - constants of this module

APPROVE: Final = Statement(f"""
UPDATE package_status
SET status = '{PUBLISHING_QUEUE.ready}', available_at = CAST(%(approved_until)s AS timestamptz),
  max_attempts = {PUBLISHING_QUEUE.max_attempts}, step = NULL, attempts = 0, stalls = 0,
  rewinds = 0, completed_at = NULL, updated_at = clock_timestamp()
WHERE {_WAITS} AND approved_digest(artifact_id) = verdict_digest
""")  # noqa: S608 - constants of this module
"""Only behind :data:`DECIDE`, in its transaction."""
