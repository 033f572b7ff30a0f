"""Approval by policy: the admins who put ``auto_approve`` into force decided in advance.

The decision is theirs, whoever of the two may take it: neither approves what they requested
themselves, and then it waits for a person like everything else. So does what anybody ever rejected
or recalled, and what was judged by a policy that is not in force any more. The database's function
``decide_by_policy`` looks at all of it: a worker's role writes no decisions.
"""

from typing import Final

from backend.autocommit import Statement
from backend.queue.writes import OURS
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE

_WAITS: Final = f"id = %(row_id)s AND {OURS} AND status = '{VETTING_QUEUE.done}'"

DECIDE: Final = Statement(f"SELECT decide_by_policy(id) FROM package_status WHERE {_WAITS}")  # noqa: S608 - constants of this module

APPROVE: Final = Statement(f"""
UPDATE package_status
SET status = '{PUBLISHING_QUEUE.ready}', available_at = CAST(%(approved_until)s AS timestamptz),
  max_attempts = {PUBLISHING_QUEUE.max_attempts}, step = NULL, attempts = 0, stalls = 0,
  rewinds = 0, completed_at = NULL, updated_at = clock_timestamp()
WHERE {_WAITS} AND approved_digest(artifact_id) = verdict_digest
""")  # noqa: S608 - constants of this module
"""Only behind :data:`DECIDE`, in its transaction."""
