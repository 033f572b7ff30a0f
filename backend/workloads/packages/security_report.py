"""One package's scan, as its requesters and approvers see it; and a scan anew."""

from typing import Any, Final

from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement
from backend.identity import audit
from backend.identity.roles import Principal, Role
from backend.problems import Conflict, Forbidden, NotFound
from backend.queue import control
from backend.workloads.packages import recall
from backend.workloads.packages.approval import lock
from backend.workloads.packages.lifecycle import IN_VETTING, INSPECT, VETTING_QUEUE
from backend.workloads.packages.waivers.in_force import RESTED_ON
from backend.workloads.packages.workload import owned

# Users see what they have requested, approvers and admins all.
REPORT: Final = Statement(f"""
SELECT s.id, p.name, p.version, p.purl, s.status, s.scan_result, s.security_score,
  s.license_identifier, s.license_status, s.license_score, s.verdict_digest,
  scan.scanned_at, scan.coverage, coalesce(scan.notes, '{{}}') AS notes,
  coalesce((
    SELECT json_agg(json_build_object('id', f.advisory, 'aliases', f.aliases, 'kind', f.kind,
      'severity', f.severity, 'title', f.title, 'fixed', f.fixed, 'source', f.source,
      'component', f.component) ORDER BY f.id)
    FROM findings f WHERE f.scan_id = scan.id), '[]') AS findings,
  {RESTED_ON} AS waivers
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
LEFT JOIN LATERAL (
  SELECT * FROM security_scans c WHERE c.artifact_id = s.artifact_id
  ORDER BY c.id DESC LIMIT 1) scan ON true
WHERE s.id = %(id)s AND (CAST(%(owner)s AS bigint) IS NULL OR EXISTS (
  SELECT FROM request_packages w JOIN requests r ON r.id = w.request_id
  WHERE w.artifact_id = s.artifact_id AND r.requestor_id = %(owner)s))
""")  # noqa: S608 - put together from constants


def report(statements: Autocommit, row_id: int, principal: Principal) -> Any:
    """The newest scan with its findings. Raises NotFound, also where it is nobody's they know."""
    owner = None if principal.may(Role.APPROVER) else principal.id
    found = statements.rows(REPORT, {"id": row_id, "owner": owner})
    if not found:
        raise _no_package(row_id)
    return found[0]


def scan_again(session: Session, row_id: int, *, by: Principal) -> str:
    """Judge a package anew, from its stored evidence, by the records and the policy of today.

    What is approved and not published loses its approval by that, so only approvers may.

    Returns:
        The row's status afterwards; vetting may be at it already.

    Raises:
        NotFound: there is none, or none that they know.
        Forbidden: it is approved, and ``by`` is no approver.
        Conflict: a person or the publisher has had the last word, or it failed in processing.
    """
    found = lock(session, [row_id]).get(row_id)
    decides = by.may(Role.APPROVER)
    if found is None or not (decides or owned(session, row_id, by.id)):
        raise _no_package(row_id)
    if found.status in IN_VETTING:
        return str(found.status)
    if found.status == "Approved" and not found.recall:
        if not decides:
            raise Forbidden("It is approved: only an approver may have it scanned again.")
        recall.take_back(session, [found], by=by, reason="scanned again")
    if not control.reopen(session, VETTING_QUEUE, [row_id], step=INSPECT, failures=("policy",)):
        raise Conflict(f"Package {row_id} is {found.status}: it is not scanned again.")
    audit.record(session, by, "package.scan-asked", f"package:{row_id}")
    return VETTING_QUEUE.ready


def _no_package(row_id: int) -> NotFound:
    return NotFound(f"There is no package {row_id}.")
