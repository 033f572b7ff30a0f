"""Every application that uses a package, and where in it: bundled copies included."""

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

from backend.autocommit import Autocommit, Statement
from backend.problems import Malformed
from backend.workloads.packages.denied_versions import FOLDER
from backend.workloads.packages.lockfile.coordinates import valid_name

LAST: Final = 2**63 - 1  # no id is greater

_COLUMNS: Final = f"""
SELECT w.id AS use, r.id AS request_id, r.application_name, r.version AS application_version,
  u.username AS requestor, r.withdrawn_at IS NOT NULL AS withdrawn, s.id, p.name, p.version,
  s.status, w.entries AS paths, w.dev, w.optional, bundled.paths AS bundled
FROM request_packages w
JOIN requests r ON r.id = w.request_id
JOIN users u ON u.id = r.requestor_id
JOIN artifacts a ON a.id = w.artifact_id
JOIN packages p ON p.id = a.package_id
LEFT JOIN package_status s ON s.artifact_id = a.id
LEFT JOIN artifact_evidence e ON e.artifact_id = a.id
CROSS JOIN LATERAL (
  SELECT array_agg((c ->> 'name') || '@' || (c ->> 'version') || ' in '
    || {FOLDER}) AS paths
  FROM jsonb_array_elements(e.inspection -> 'components') c
  WHERE c @> CAST(%(component)s AS jsonb)) bundled
"""  # noqa: S608 - put together from constants

# The planner takes documents for as short as the rows that point to them, and would read them all.
_BY_INDEX: Final = Statement("SELECT set_config('enable_seqscan', 'off', true)")

# By what it is and by what it brings along; each has an index of its own.
USES: Final = Statement(f"""
WITH known AS MATERIALIZED (
  SELECT a.id FROM packages p JOIN artifacts a ON a.package_id = p.id
  WHERE p.ecosystem = 'npm' AND p.name = %(name)s
    AND (CAST(%(version)s AS text) IS NULL OR p.version = %(version)s)
  UNION
  SELECT artifact_id FROM artifact_evidence
  WHERE inspection -> 'components' @> CAST(%(wanted)s AS jsonb)
)
{_COLUMNS}
WHERE w.artifact_id = ANY (ARRAY(SELECT id FROM known)) AND w.id < %(before)s
ORDER BY w.id DESC LIMIT %(limit)s
""")  # noqa: S608 - constants of this module


def parse(purl: str) -> tuple[str, str | None]:
    """Name and version of ``pkg:npm/NAME[@VERSION]``, in the case in which they are written.

    Raises:
        Malformed: it is no such thing.
    """
    scheme, _, rest = unquote(purl.strip()).partition("/")
    base, _, version = rest[1:].partition("@")
    name = rest[:1] + base
    if scheme.lower() != "pkg:npm" or not valid_name(name):
        raise Malformed("Give a package URL: pkg:npm/NAME@VERSION.", code="malformed-purl")
    return name, version or None


def where_used(
    statements: Autocommit, purl: str, *, before: int | None, limit: int
) -> Sequence[Any]:
    """Uses newest first, those with ids under ``before``; raises as :func:`parse` does."""
    name, version = parse(purl)
    component = {"name": name, **({"version": version} if version else {})}
    asked = {
        "name": name,
        "version": version,
        "component": json.dumps(component),
        "wanted": json.dumps([component]),
        "before": before or LAST,
        "limit": limit,
    }
    return statements.together((_BY_INDEX, USES), asked)
