"""What is read of requests, each in one statement.

Packages and what belongs to them come as JSON text within it. That of ``DETAIL`` goes out as it is:
each list has the members of its schema, in their order.
"""

from typing import Final

from backend.autocommit import Statement
from backend.identity.callers import answering
from backend.identity.roles import Role
from backend.queue.lifecycle import PROCESSING_FAILURES
from backend.workloads.packages.advisories.flagging import FLAGS
from backend.workloads.packages.waivers.in_force import RESTED_ON

FAILED: Final = "Failed"
"""Not a status: how counts tell a processing failure from a refusal."""

# A plan is made once for a connection, perhaps while the table has few rows, and reading it whole
# looks cheap. Whoever asks for one row of a key at a time is given an index in any plan.
# ``shown``: what is being taken back is recalled, whichever word its queue has for it.
STATUS: Final = """
JOIN LATERAL (
  SELECT *, CASE WHEN recall IS NOT NULL AND status <> 'Rejected' THEN 'Recalled' ELSE status END
    AS shown
  FROM package_status WHERE artifact_id = w.artifact_id LIMIT 1) s ON true
"""
PACKAGE: Final = """
JOIN LATERAL (SELECT * FROM packages WHERE id = w.package_id LIMIT 1) p ON true
"""
ARTIFACT: Final = """
JOIN LATERAL (SELECT * FROM artifacts WHERE id = w.artifact_id LIMIT 1) a ON true
"""

_FAILURES: Final = ", ".join(f"'{failure}'" for failure in (*PROCESSING_FAILURES, "cancelled"))

_COUNTED: Final = f"CASE WHEN s.failure IN ({_FAILURES}) THEN '{FAILED}' ELSE s.shown END"

_REQUEST: Final = """
SELECT r.id, r.application_name, r.version, r.lock_format, r.entries, r.created_at,
  r.withdrawn_at IS NOT NULL AS withdrawn, u.username AS requestor"""

REQUEST: Final = f"""
{_REQUEST}, coalesce((
    SELECT json_object_agg(word, packages) FROM (
      SELECT {_COUNTED} AS word, count(*) AS packages
      FROM request_packages w {STATUS}
      WHERE w.request_id = r.id GROUP BY word) counted), '{{}}') AS counts
"""  # noqa: S608 - words of this release

FROM: Final = "FROM requests r JOIN users u ON u.id = r.requestor_id"

_PAGE: Final = "r.id < %(before)s ORDER BY r.id DESC LIMIT %(limit)s"

# Users see their own requests, approvers and admins all.
ONE: Final = f"r.id = %(id)s AND (caller.role <> '{Role.USER}' OR r.requestor_id = caller.id)"

ALL: Final = Statement(f"{REQUEST} {FROM} WHERE {_PAGE}")

OWN: Final = Statement(f"{REQUEST} {FROM} WHERE r.requestor_id = %(owner)s AND {_PAGE}")

# A list of packages, and beside it what each of them counts as: no second look at all of them.
_ORDER: Final = "ORDER BY p.name, p.version, w.id"
_COUNTS: Final = f"array_agg({_COUNTED}) AS counts"

PROGRESS: Final = answering(f"""
{_REQUEST}, held.counts, held.packages
{FROM}, LATERAL (
  SELECT {_COUNTS}, coalesce(json_agg(json_build_object('id', s.id, 'name', p.name,
      'version', p.version, 'status', s.shown, 'failure', s.failure, 'error', s.error)
      {_ORDER}), '[]')::text AS packages
  FROM request_packages w {STATUS} {PACKAGE}
  WHERE w.request_id = r.id) held
WHERE {ONE}
""")  # noqa: S608 - statements of this module

# As the schemas write it.
UTC: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""

# ``checked`` is the strength of what this lock names; an artifact may be shared by locks that name
# more or less.
_PACKAGE: Final = f"""
SELECT s.id, p.name, p.version, p.purl, s.shown AS status, s.failure, s.error, s.security_score,
  s.license_score, s.license_identifier, s.license_status, w.type, s.scan_result,
  s.verdict_digest,
  coalesce(nullif(w.integrity, ''), 'none') AS integrity,
  CASE WHEN a.sha512 IS NOT NULL
    THEN coalesce(nullif(split_part(w.integrity, '-', 1), ''), 'none') END AS checked,
  w.entries, w.dev, w.optional, s.attempts,
  CASE WHEN isfinite(s.available_at)
    THEN to_char(s.available_at AT TIME ZONE 'UTC', {UTC}) END AS available_at,
  to_char(s.updated_at AT TIME ZONE 'UTC', {UTC}) AS updated_at,
  coalesce((
    SELECT json_agg(json_build_object('id', f.advisory, 'aliases', f.aliases, 'kind', f.kind,
      'severity', f.severity, 'title', f.title, 'fixed', f.fixed, 'source', f.source,
      'component', f.component) ORDER BY f.id)
    FROM findings f WHERE f.scan_id = scan.id), '[]') AS findings,
  scan.coverage, coalesce(scan.notes, '{{}}') AS notes,
  coalesce({FLAGS}, '[]') AS flags, coalesce(s.rulings, '[]') AS rulings,
  {RESTED_ON} AS waivers
"""  # noqa: S608 - statements of this module

DETAIL: Final = answering(f"""
{_REQUEST}, held.counts, held.packages,
  (SELECT coalesce(json_agg(json_build_object(
      'entry', e.entry, 'reason', e.reason, 'detail', e.detail) ORDER BY e.id), '[]')::text
    FROM request_exclusions e WHERE e.request_id = r.id) AS excluded,
  (SELECT coalesce(json_agg(json_build_object(
      'kind', n.kind, 'entry', n.entry, 'detail', n.detail) ORDER BY n.id), '[]')::text
    FROM request_notices n WHERE n.request_id = r.id) AS notices
{FROM}, LATERAL (
  SELECT {_COUNTS}, coalesce(json_agg(package {_ORDER}), '[]')::text AS packages
  FROM request_packages w {STATUS} {PACKAGE} {ARTIFACT}
  LEFT JOIN LATERAL (
    SELECT c.id, c.coverage, c.notes FROM security_scans c WHERE c.artifact_id = w.artifact_id
    ORDER BY c.id DESC LIMIT 1) scan ON true,  -- the newest counts
  LATERAL ({_PACKAGE}) package
  WHERE w.request_id = r.id) held
WHERE {ONE}
""")  # noqa: S608 - statements of this module
