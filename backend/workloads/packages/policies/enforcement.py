"""What another policy, or other tiers, mean at once for what was judged before."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.queue import control
from backend.workloads.packages import approval, approval_sql
from backend.workloads.packages.lifecycle import INSPECT, PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.history import refused

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
    rows = approval.lock(session, [*waiting, *objected])
    asked = {"ids": sorted(rows)}
    tried = {*session.connection().exec_driver_sql(approval_sql.TRIED, asked).scalars()}
    void = [
        i
        for i, row in rows.items()
        if row.status == PUBLISHING_QUEUE.ready and not row.recall and i not in tried
    ]
    approval_sql.run(session, approval_sql.RETURN, void)
    for row_id in void:
        audit.record(session, ACTOR, "approval.voided", f"package:{row_id}")
    still = [i for i, row in rows.items() if row.status == VETTING_QUEUE.done]
    return control.reopen(session, VETTING_QUEUE, [*still, *void], step=INSPECT)
