"""What another policy, or other tiers, mean at once for what was judged before."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.history import refused
from backend.workloads.packages.revetting import judge_anew

ACTOR: Final = "policy"

_JUDGED_BEFORE: Final = text("""
SELECT s.id, s.status FROM package_status s
JOIN artifact_evidence e ON e.artifact_id = s.artifact_id AND e.inspection IS NOT NULL
WHERE s.status IN ('Pending Approval', 'Approved') AND s.recall IS NULL
  AND s.policy_digest IS DISTINCT FROM (SELECT digest FROM policy_state)
""")


def judge_again(session: Session, policy: PolicyDocument, *, own_registry: bool) -> list[int]:
    """Queue what waits for a person; and what is approved, not published, and refused from now on.

    From the stored evidence; the approval of the latter is void. Answers their row ids.

    Args:
        policy: the one in force.
        own_registry: packages come from a registry of one's own.
    """
    found = session.execute(_JUDGED_BEFORE).all()
    approved = [row.id for row in found if row.status == PUBLISHING_QUEUE.ready]
    objected = refused(session, policy, approved, own_registry=own_registry)
    waiting = [row.id for row in found if row.status == VETTING_QUEUE.done]
    return judge_anew(session, [*waiting, *objected], actor=ACTOR)
