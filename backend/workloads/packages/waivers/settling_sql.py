"""The statements by which verdicts follow the waivers in force."""

from typing import Final

from backend.workloads.packages.waivers.applying import WAIVABLE
from backend.workloads.packages.waivers.in_force import ENDED, IN_FORCE, RESTS_ON_ENDED

# Of all workers one at a time looks; whoever seconds or revokes waits for it.
TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('lockkeeper.waivers', 0))"
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lockkeeper.waivers', 0))"

_RESTING: Final = "package_status s WHERE s.waivers IS NOT NULL"
_OPEN: Final = (
    f"s.status IN ('Pending Approval', 'Approved') AND s.recall IS NULL AND {RESTS_ON_ENDED}"
)
_PUBLIC: Final = "s.status = 'Published' AND s.recall IS NULL"
_UNSEEN: Final = f"""EXISTS (
  SELECT FROM waivers v WHERE v.id = ANY (s.waivers) AND {ENDED} AND NOT EXISTS (
    SELECT FROM waiver_flags g WHERE g.artifact_id = s.artifact_id AND g.waiver_id = v.id))"""  # noqa: S608 - constants of this module
_LAPSED: Final = f"EXISTS (SELECT FROM waivers v WHERE v.id = g.covered_by AND {ENDED})"

# A verdict that was found while a waiver ended may come to rest on it after everybody has looked:
# so it is the rows that are asked, and not the waivers.
DUE: Final = f"""
EXISTS (SELECT FROM waivers v WHERE v.seconded_at IS NOT NULL AND v.ended_at IS NULL
    AND (v.applied_at IS NULL OR {ENDED}))
  OR EXISTS (SELECT FROM {_RESTING} AND ({_OPEN} OR {_PUBLIC} AND {_UNSEEN}))
  OR EXISTS (SELECT FROM waiver_flags g WHERE g.covered_by IS NOT NULL AND {_LAPSED})
"""  # noqa: S608 - constants of this module

REOPENED: Final = f"SELECT s.id FROM {_RESTING} AND {_OPEN} ORDER BY s.id"  # noqa: S608 - as above

# What a waiver that has begun may change: judged without it, and refused or waiting. Asked behind
# APPLIED: what ended in between is seen. Until it is applied, only rows that were taken before it
# began are reopened, so each once: those that it turns out not to be for are found again.
CONCERNED: Final = f"""
SELECT v.id AS waiver_id, v.range, s.id, s.status, p.version,
  e.inspection IS NOT NULL AS inspected
FROM waivers v
JOIN packages p ON p.ecosystem = v.ecosystem AND p.name = v.name
JOIN artifacts a ON a.package_id = p.id
JOIN package_status s ON s.artifact_id = a.id
LEFT JOIN artifact_evidence e ON e.artifact_id = a.id
WHERE {IN_FORCE} AND (v.applied_at = now()
    OR v.applied_at IS NULL AND coalesce(s.started_at, '-infinity') <= v.seconded_at)
  AND v.id <> ALL (coalesce(s.waivers, '{{}}'))
  AND (s.status = 'Pending Approval' OR s.status = 'Rejected' AND s.failure = 'policy')
  AND CASE WHEN v.licence IS NOT NULL
    THEN s.license_status IS NULL OR s.license_status IN ('avoid', 'blocked')
    ELSE EXISTS (
      SELECT FROM findings f
      WHERE f.scan_id = (SELECT max(c.id) FROM security_scans c WHERE c.artifact_id = a.id)
        AND f.kind IN {WAIVABLE}
        AND lower(v.finding) IN (SELECT lower(name) FROM unnest(f.advisory || f.aliases) name))
    END
ORDER BY s.id
"""  # noqa: S608 - constants of this module

# What is being vetted has perhaps been read before it began: it is looked at again when it is not.
# Until the seconding is committed that goes for what is taken meanwhile, too.
APPLIED: Final = f"""
UPDATE waivers v SET applied_at = now()
WHERE v.applied_at IS NULL AND {IN_FORCE} AND v.seconded_at < now() AND NOT EXISTS (
  SELECT FROM packages p
  JOIN artifacts a ON a.package_id = p.id
  JOIN package_status s ON s.artifact_id = a.id
  WHERE p.ecosystem = v.ecosystem AND p.name = v.name AND s.lease_token IS NOT NULL
    AND s.status <> 'Publishing')
"""  # noqa: S608 - constants of this module

FLAG: Final = f"""
INSERT INTO waiver_flags (artifact_id, waiver_id)
SELECT s.artifact_id, v.id
FROM package_status s JOIN waivers v ON v.id = ANY (s.waivers)
WHERE s.waivers IS NOT NULL AND {_PUBLIC} AND {ENDED}
ORDER BY s.artifact_id, v.id
ON CONFLICT (artifact_id, waiver_id) DO NOTHING
RETURNING id
"""  # noqa: S608 - constants of this module

UNCOVER: Final = f"""
UPDATE waiver_flags g SET covered_by = NULL, since = now()
WHERE g.covered_by IS NOT NULL AND {_LAPSED}
RETURNING g.id
"""  # noqa: S608 - constants of this module

# Two waivers are of one matter where they name it in the same words.
COVERING: Final = f"""
SELECT g.id, v.id AS waiver_id, v.range, p.version
FROM waiver_flags g
JOIN waivers ended ON ended.id = g.waiver_id
JOIN waivers v ON v.ecosystem = ended.ecosystem AND v.name = ended.name
  AND (lower(v.finding), v.component, v.licence)
    IS NOT DISTINCT FROM (lower(ended.finding), ended.component, ended.licence)
JOIN artifacts a ON a.id = g.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE g.covered_by IS NULL AND {IN_FORCE}
ORDER BY v.expires_at, v.id
"""  # noqa: S608 - constants of this module

COVER: Final = """
UPDATE waiver_flags g SET covered_by = cover.waiver_id
FROM unnest(CAST(%(flags)s AS bigint[]), CAST(%(waivers)s AS bigint[])) AS cover(id, waiver_id)
WHERE g.id = cover.id
"""

# An advisory that concerns what is public again is a hit like any other.
TOLD: Final = f"""
WITH told AS (
  SELECT s.id, v.id AS waiver_id, p.purl, p.name, p.version, s.status, v.finding,
    coalesce((
      SELECT jsonb_agg(jsonb_build_object('id', f.advisory, 'component', f.component,
        'kind', f.kind, 'severity', f.severity) ORDER BY f.advisory, f.component)
      FROM findings f
      WHERE f.scan_id = (SELECT max(c.id) FROM security_scans c WHERE c.artifact_id = a.id)
        AND lower(v.finding) IN (SELECT lower(name) FROM unnest(f.advisory || f.aliases) name)
    ), '[]') AS advisories
  FROM waiver_flags g
  JOIN waivers v ON v.id = g.waiver_id
  JOIN artifacts a ON a.id = g.artifact_id
  JOIN packages p ON p.id = a.package_id
  JOIN package_status s ON s.artifact_id = a.id
  WHERE g.id = ANY (CAST(%(flags)s AS bigint[])) AND g.covered_by IS NULL AND {_PUBLIC}
)
SELECT id, waiver_id, CASE WHEN finding IS NOT NULL THEN
  emit_event('advisory.hit', 'package:' || id, jsonb_build_object(
    'package_id', id, 'purl', purl, 'name', name, 'version', version, 'status', status,
    'advisories', advisories, 'waiver', waiver_id)) END
FROM told ORDER BY id
"""  # noqa: S608 - constants of this module

ENDINGS: Final = f"""
UPDATE waivers v SET ended_at = now()
WHERE v.seconded_at IS NOT NULL AND v.ended_at IS NULL AND {ENDED}
RETURNING v.id, v.revoked_at IS NULL AS expired
"""  # noqa: S608 - constants of this module
