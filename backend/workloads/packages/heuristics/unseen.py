"""A lock that asks for a known package together with one whose name is like it."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.queue import control
from backend.workloads.packages.heuristics.names import MOST
from backend.workloads.packages.lifecycle import INSPECT, VETTING_QUEUE

# What is approved is the one that others may be taken for. Where so many are told of already, one
# more would not be.
_UNSEEN: Final = text(f"""
SELECT DISTINCT s.id
FROM similar_names n
JOIN request_packages w ON w.request_id = n.request_id
JOIN packages p ON p.id = w.package_id AND p.name = n.name
JOIN package_status s ON s.artifact_id = w.artifact_id
WHERE n.request_id = :request AND s.status = '{VETTING_QUEUE.done}'
  AND NOT EXISTS (
    SELECT FROM approved_names k WHERE name_keys(k.name) && name_keys(n.name) AND k.name = n.name)
  AND NOT EXISTS (
    SELECT FROM findings f
    WHERE f.scan_id = (SELECT max(id) FROM security_scans WHERE artifact_id = s.artifact_id)
      AND starts_with(f.advisory, 'similar-name:')
    HAVING bool_or(f.advisory = 'similar-name:' || n.resembles) OR count(*) >= {MOST})
""")  # noqa: S608 - constants of this release


def judge_likenesses(session: Session, request_id: int) -> list[int]:
    """Queue what waits for a person who was not told of this request's likenesses.

    From the stored evidence; answers the row ids.
    """
    unseen = session.scalars(_UNSEEN, {"request": request_id}).all()
    return control.reopen(session, VETTING_QUEUE, unseen, step=INSPECT)
