"""What is read of the database, each in one statement: the answer is of one moment."""

from typing import Final

from backend.identity.callers import answering
from backend.workloads.packages.advisories.flagging import STANDING
from backend.workloads.packages.policy import NEWEST
from backend.workloads.packages.service_sql import FROM, ONE, REQUEST, UTC
from backend.workloads.packages.waivers.in_force import RESTED_ON

ADVISORY_KINDS: Final = ("vulnerability", "malware", "undetermined")


def _utc(moment: str) -> str:
    return f"to_char({moment} AT TIME ZONE 'UTC', {UTC})"


# Every document but the SBOMs is written by the database: nothing takes it apart again.

_SCAN: Final = f"""
SELECT json_build_object('result', c.result, 'score', c.score, 'coverage', c.coverage,
    'notes', c.notes, 'scanned_at', {_utc("c.scanned_at")}, 'findings', found.findings) AS scan,
  found.advisories
FROM (
  SELECT * FROM security_scans WHERE artifact_id = mine.artifact_id
  ORDER BY id DESC LIMIT 1  -- the newest counts
) c, LATERAL (
  SELECT coalesce(json_agg(f.said ORDER BY f.id), '[]') AS findings,
    json_agg(f.said ORDER BY f.id) FILTER (WHERE f.kind IN {ADVISORY_KINDS}) AS advisories
  FROM (
    SELECT id, kind, json_build_object('advisory', advisory, 'aliases', aliases, 'kind', kind,
      'severity', severity, 'title', title, 'fixed', fixed, 'source', source,
      'component', component) AS said
    FROM findings WHERE scan_id = c.id) f
) found
"""  # noqa: S608 - put together from constants

# Several lines of a lock may name the same bytes, each with a hash of its own.
_ASKED: Final = """
SELECT json_agg(json_build_object('integrity', w.integrity, 'entries', w.entries, 'dev', w.dev,
    'optional', w.optional, 'license_claim', w.license_claim) ORDER BY w.id) AS lines,
  bool_and(w.dev) AS dev, bool_and(w.optional) AS optional, min(w.package_id) AS package_id
FROM request_packages w WHERE w.request_id = r.id AND w.artifact_id = mine.artifact_id
"""

# Of the texts of licence files only what they are: the texts are in the tarball.
_LICENCE_FILES: Final = """(
  SELECT coalesce(jsonb_agg(file - 'text'), '[]')
  FROM jsonb_array_elements(e.inspection -> 'licence_files') file)
"""

_BUNDLED: Final = """(
  SELECT json_agg(part - 'install_scripts' - 'bundled')
  FROM jsonb_array_elements(e.inspection -> 'components') part
  WHERE part ->> 'bundled' = 'true')
"""

_NAMED: Final = "'id', s.id, 'name', p.name, 'version', p.version, 'purl', p.purl"

# All of them, as nobody deletes one; what stands is a vulnerability that the scan does not tell of.
_FLAGS: Final = f"""
SELECT artifact_id, json_agg(said ORDER BY id) AS flags,
  json_agg(said ORDER BY id) FILTER (WHERE stands) AS standing
FROM (
  SELECT g.artifact_id, g.id, {STANDING} AS stands,
    json_build_object('advisory', g.advisory_id, 'aliases', a.aliases, 'kind', g.kind,
      'severity', g.severity, 'title', a.title, 'fixed', g.fixed, 'source', a.source,
      'component', g.component, 'withdrawn', a.withdrawn, 'since', {_utc("g.since")},
      'stands', {STANDING}, 'lifted_at', {_utc("g.lifted_at")},
      'lifted_because', g.lifted_because) AS said
  FROM advisory_flags g JOIN advisories a ON a.id = g.advisory_id
  WHERE g.artifact_id IN (SELECT artifact_id FROM request_packages WHERE request_id = r.id)
) flag
GROUP BY artifact_id
"""  # noqa: S608 - put together from constants

_PACKAGE: Final = f"""
WITH flagged AS MATERIALIZED ({_FLAGS})
SELECT p.name, p.version, s.id, s.policy_digest,
  json_build_object({_NAMED}, 'sha512', a.sha512, 'asked', asked.lines, 'dev', asked.dev,
    'optional', asked.optional, 'status', s.status, 'scan_result', s.scan_result,
    'concluded', s.license_identifier, 'declared', e.inspection -> 'licence',
    'inspected', e.inspection IS NOT NULL, 'bundled', {_BUNDLED},
    'advisories', scanned.advisories, 'standing', flagged.standing) AS part,
  json_build_object({_NAMED}, 'status', s.status, 'failure', s.failure, 'error', s.error,
    'asked', asked.lines, 'bytes', json_build_object('sha512', a.sha512, 'size', a.size,
      'checked', a.checked, 'registry_agrees', a.registry_agrees),
    'verdict', json_build_object('license_identifier', s.license_identifier,
      'license_status', s.license_status, 'license_score', s.license_score,
      'security_score', s.security_score, 'scan_result', s.scan_result, 'rulings', s.rulings,
      'policy_digest', s.policy_digest, 'advisories_digest', s.advisories_digest,
      'verdict_digest', s.verdict_digest, 'vetted_at', {_utc("s.vetted_at")},
      'waivers', {RESTED_ON}),
    'inspection', e.inspection - 'licence' - 'licence_files' - 'name' - 'version',
    'registry', e.registry_record - 'tarball') AS package,
  json_build_object({_NAMED}, 'expression', s.license_identifier, 'tier', s.license_status,
    'score', s.license_score, 'manifest', e.inspection -> 'licence',
    'registry', e.registry_record -> 'license_expression',
    'files', CASE WHEN e.inspection IS NOT NULL THEN {_LICENCE_FILES} END,
    'bundled', {_BUNDLED}) AS licence,
  json_build_object({_NAMED}, 'scan', scanned.scan,
    'flags', coalesce(flagged.flags, '[]')) AS finding
FROM (SELECT DISTINCT artifact_id FROM request_packages WHERE request_id = r.id) mine
CROSS JOIN LATERAL ({_ASKED}) asked
JOIN package_status s ON s.artifact_id = mine.artifact_id
JOIN packages p ON p.id = asked.package_id
JOIN artifacts a ON a.id = mine.artifact_id
LEFT JOIN artifact_evidence e ON e.artifact_id = mine.artifact_id
LEFT JOIN LATERAL ({_SCAN}) scanned ON true
LEFT JOIN flagged ON flagged.artifact_id = mine.artifact_id
"""  # noqa: S608 - put together from constants

_ORDER: Final = "ORDER BY name, version, id"

_DOCUMENTS: Final = f"""
SELECT coalesce(json_agg(part {_ORDER}), '[]')::text AS parts,
  coalesce(json_agg(package {_ORDER}), '[]')::text AS packages,
  coalesce(json_agg(licence {_ORDER}), '[]')::text AS licences,
  coalesce(json_agg(finding {_ORDER}), '[]')::text AS findings,
  array_agg(DISTINCT policy_digest) AS judged_by
FROM ({_PACKAGE}) package
"""  # noqa: S608 - put together from constants

_DECISIONS: Final = f"""
SELECT coalesce(json_agg(json_build_object({_NAMED}, 'decision', d.decision,
  'decided_by', by.username, 'reason', d.reason, 'verdict_digest', d.verdict_digest,
  'decided_at', {_utc("d.decided_at")}) ORDER BY d.id), '[]')
FROM decisions d
JOIN users by ON by.id = d.decided_by
JOIN package_status s ON s.artifact_id = d.artifact_id
JOIN artifacts a ON a.id = d.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE d.artifact_id IN (SELECT artifact_id FROM request_packages WHERE request_id = r.id)
"""  # noqa: S608 - put together from constants

# ``digest`` is one word for both, the version and the tiers; packages were judged by one of these.
_POLICY: Final = f"""
SELECT json_build_object(
  'digest', (SELECT digest FROM policy_state),
  'version', (
    SELECT json_build_object('id', v.id, 'digest', v.digest, 'source', v.source,
      'effective_at', {_utc("v.effective_at")})
    FROM policy_versions v WHERE {NEWEST}),
  'judged_by', written.judged_by,
  'licence_tiers', (
    SELECT json_object_agg(identifier, status ORDER BY identifier) FROM supported_licenses))
"""  # noqa: S608 - put together from constants

# As ``SealStatement`` words it.
_SEAL: Final = f"""
SELECT json_build_object('kind', 'seal', 'seal', t.id, 'count', cardinality(t.entries),
  'total', t.total, 'previous', encode(t.previous, 'hex'), 'head', encode(t.head, 'hex'),
  'sealed_at', {_utc("t.sealed_at")},
  'public_key', encode(t.public_key, 'hex'), 'signature', encode(t.signature, 'hex'))
FROM audit_seals t ORDER BY t.id DESC LIMIT 1
"""  # noqa: S608 - put together from constants

EVIDENCE: Final = answering(f"""
{REQUEST}, {_utc("now()")} AS taken_at, r.lock, written.parts,
  (SELECT coalesce(json_agg(json_build_object(
      'entry', x.entry, 'reason', x.reason, 'detail', x.detail) ORDER BY x.id), '[]')::text
    FROM request_exclusions x WHERE x.request_id = r.id) AS exclusions,
  (SELECT coalesce(json_agg(json_build_object(
      'kind', n.kind, 'entry', n.entry, 'detail', n.detail) ORDER BY n.id), '[]')::text
    FROM request_notices n WHERE n.request_id = r.id) AS notices,
  written.packages, written.licences, written.findings, ({_DECISIONS})::text AS decisions,
  ({_POLICY})::text AS policy, json_build_object('seal', ({_SEAL}))::text AS audit
{FROM} CROSS JOIN LATERAL ({_DOCUMENTS}) written
WHERE {ONE}
""")  # noqa: S608 - put together from constants

# One artifact may stand in several lines, with other hashes.
WHY: Final = answering(f"""
SELECT r.lock, r.application_name, r.version,
  (SELECT json_build_object('name', min(p.name), 'version', min(p.version),
      'purl', min(p.purl), 'entries', json_agg(entry ORDER BY w.id, place))::text
    FROM package_status s
    JOIN request_packages w ON w.artifact_id = s.artifact_id
    JOIN packages p ON p.id = w.package_id,
    unnest(w.entries) WITH ORDINALITY AS named(entry, place)
    WHERE s.id = %(package_id)s AND w.request_id = r.id
    HAVING count(*) > 0) AS package
{FROM} WHERE {ONE}
""")  # noqa: S608 - put together from constants

LOCK: Final = answering(f"""
SELECT r.lock,
  (SELECT coalesce(json_agg(json_build_object('name', p.name, 'version', p.version,
      'sha512', a.sha512, 'entries', w.entries)), '[]')::text
    FROM request_packages w
    JOIN packages p ON p.id = w.package_id
    JOIN artifacts a ON a.id = w.artifact_id
    WHERE w.request_id = r.id) AS packages,
  (SELECT min(x.entry) FROM request_exclusions x
    WHERE x.request_id = r.id AND x.reason = 'git') AS unpinned
{FROM} WHERE {ONE}
""")  # noqa: S608 - put together from constants
