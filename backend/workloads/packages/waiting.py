"""What waits for an approver, with all that they need to decide."""

from collections.abc import Sequence
from typing import Any, Final

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.waivers.in_force import RESTED_ON

REQUESTS: Final = 5  # of those that ask for one package, so many are shown

_SHOWN: Final = f"""
SELECT s.id, p.name, p.version, p.purl, s.status, s.verdict_digest, s.vetted_at,
  s.security_score, s.scan_result, s.license_identifier, s.license_status, s.license_score,
  a.sha512, coalesce(a.checked, 'none') AS checked,
  NOT may_approve(s.artifact_id, %(by)s) AS own,
  coalesce((
    SELECT json_agg(json_build_object('id', f.advisory, 'aliases', f.aliases, 'kind', f.kind,
      'severity', f.severity, 'title', f.title, 'fixed', f.fixed, 'source', f.source,
      'component', f.component) ORDER BY f.id)
    FROM findings f WHERE f.scan_id = (
      SELECT max(c.id) FROM security_scans c WHERE c.artifact_id = s.artifact_id)), '[]'
  ) AS findings,
  coalesce((
    SELECT c.notes FROM security_scans c WHERE c.artifact_id = s.artifact_id
    ORDER BY c.id DESC LIMIT 1), '{{}}') AS notes,
  coalesce((
    SELECT json_agg(asked) FROM (
      SELECT r.id, r.application_name, r.version, u.username AS requestor
      FROM request_packages w
      JOIN requests r ON r.id = w.request_id
      JOIN users u ON u.id = r.requestor_id
      WHERE w.artifact_id = s.artifact_id ORDER BY r.id DESC LIMIT {REQUESTS}) asked), '[]'
  ) AS requests,
  {RESTED_ON} AS waivers
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.status = 'Pending Approval' AND s.id > %(after)s
"""  # noqa: S608 - constants of this module

ALL: Final = Statement(f"{_SHOWN} ORDER BY s.id LIMIT %(limit)s")

OF_REQUEST: Final = Statement(f"""
{_SHOWN} AND s.artifact_id IN (
  SELECT artifact_id FROM request_packages WHERE request_id = %(request_id)s)
ORDER BY s.id LIMIT %(limit)s
""")  # noqa: S608 - constants of this module


def waiting(
    statements: Autocommit, *, by: int, after: int, limit: int, request_id: int | None
) -> Sequence[Any]:
    """Packages that wait for approval, oldest first, those with ids over ``after``.

    Args:
        by: who asks; ``own`` says of each package that they may not decide about it.
        request_id: only what this request asks for.
    """
    asked = {"by": by, "after": after, "limit": limit, "request_id": request_id}
    return statements.rows(ALL if request_id is None else OF_REQUEST, asked)
