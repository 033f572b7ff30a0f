"""Published packages that rest on a waiver which has ended: reads only."""

from collections.abc import Sequence
from typing import Any, Final

from backend.autocommit import Autocommit, Statement

FLAGS: Final = Statement("""
SELECT g.id, s.id AS package_id, p.name, p.version, p.purl, s.status, g.waiver_id, v.finding,
  v.component, v.licence, v.expires_at, v.revoked_at, g.since,
  (SELECT count(DISTINCT w.request_id) FROM request_packages w
    WHERE w.artifact_id = g.artifact_id) AS requests
FROM waiver_flags g
JOIN waivers v ON v.id = g.waiver_id
JOIN artifacts a ON a.id = g.artifact_id
JOIN packages p ON p.id = a.package_id
JOIN package_status s ON s.artifact_id = a.id
WHERE g.id < %(before)s AND g.covered_by IS NULL AND s.status = 'Published' AND s.recall IS NULL
ORDER BY g.id DESC LIMIT %(limit)s
""")


def flags(statements: Autocommit, *, before: int, limit: int) -> Sequence[Any]:
    """Those that stand, newest first, with ids under ``before``."""
    return statements.rows(FLAGS, {"before": before, "limit": limit})
