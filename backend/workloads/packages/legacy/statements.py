"""From staged rows to rows of ours, each table in a few statements, by natural keys.

A staged table ``l_…`` lives until the transaction ends. Its ``id`` is the predecessor's, ``new_id``
ours, and ``known`` says that the row was here before: then it is left as it is.
"""

from typing import Final

from backend.workloads.packages.legacy.reading import LARGEST_ID
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE

STAGES: Final = {
    "l_user": "id bigint, username text, role text, active boolean, password_hash text,"
    " created_at timestamptz, renamed boolean",
    "l_licence": "id bigint, name text, identifier text, status text",
    "l_request": "id bigint, requestor bigint, requestor_name text, application_name text,"
    " version text, lock text, lock_format text, created_at timestamptz, withdrawn_at timestamptz",
    "l_package": "id bigint, name text, version text, purl text, created_at timestamptz",
    "l_artifact": "id bigint, key text, package bigint, integrity text",
    "l_link": "request bigint, artifact text, package bigint, type text, entries text[],"
    " dev boolean, optional boolean, license_claim text",
    "l_excluded": "request bigint, entry text, reason text, detail text",
    "l_status": "id bigint, package bigint, artifact text, there text, status text,"
    " failure text, error text, license_identifier text, license_status text,"
    " license_score smallint, security_score smallint, approver bigint, rejector bigint,"
    " digest text, created_at timestamptz, updated_at timestamptz",
    "l_decision": "id bigint, artifact text, decision text, decided_by bigint, reason text,"
    " decided_at timestamptz",
    "l_scan": "id bigint, artifact text, notes text[], scanned_at timestamptz",
    "l_entry": "id bigint, actor bigint, action text, kind text, resource bigint, details text,"
    " at timestamptz",
}

LOOKED_UP: Final = {
    "l_user": "id", "l_request": "id", "l_link": "request", "l_excluded": "request",
    "l_status": "package",
}  # fmt: skip
"""What is looked up once for each row of another stage."""

NOBODY: Final = "legacy-unknown"
"""Whose a request is that names nobody; the account is not active."""

STEP_ASIDE: Final = """
SELECT setval(pg_get_serial_sequence('{table}', 'id'), highest)
FROM (SELECT max(id) AS highest FROM {stage} WHERE id <= {largest}) staged
WHERE highest > coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')), 0)
"""
"""New rows get numbers beyond all that are to be kept."""

KEEP: Final = """
UPDATE {stage} SET new_id = id
WHERE new_id IS NULL AND id <= {largest}
  AND NOT EXISTS (SELECT FROM {table} t WHERE t.id = {stage}.id)
"""
NUMBER: Final = """
UPDATE {stage} SET new_id = nextval(pg_get_serial_sequence('{table}', 'id')) WHERE new_id IS NULL
"""
NUMBER_ASIDE: Final = """
UPDATE {stage} SET new_id = 2 * {largest} + place
FROM (SELECT ctid AS staged, row_number() OVER () AS place FROM {stage}) numbered
WHERE staged = {stage}.ctid AND new_id IS NULL
"""
"""For what is taken back: no sequence goes on, and nobody else is given these."""
NUMBERED: Final = "ANALYZE {stage}"
"""Else the planner knows of no number here."""

LARGEST: Final = LARGEST_ID

# A name that was made for this house is nobody's here but theirs who came with it.
USERS_KNOWN: Final = """
UPDATE l_user SET new_id = u.id, known = true FROM users u
WHERE NOT known AND lower(u.username) = lower(l_user.username)
  AND (NOT renamed OR u.created_at = l_user.created_at)
"""
USERS_TAKEN: Final = """
UPDATE l_user SET username = left(username, 40) || '-' || id
WHERE NOT known AND lower(username) IN (SELECT lower(u.username) FROM users u)
"""
USERS: Final = """
INSERT INTO users (id, username, password_hash, role, active, created_at)
SELECT new_id, username, password_hash, role, active, created_at
FROM l_user WHERE NOT known ORDER BY new_id
"""
LICENCES_KNOWN: Final = """
UPDATE l_licence SET new_id = t.id, known = true FROM supported_licenses t
WHERE t.identifier = l_licence.identifier
"""
LICENCES: Final = """
INSERT INTO supported_licenses (id, name, identifier, status)
SELECT new_id, name, identifier, status FROM l_licence WHERE NOT known ORDER BY new_id
"""
LICENCES_DIFFER: Final = """
SELECT count(*) FROM l_licence JOIN supported_licenses t ON t.id = new_id
WHERE known AND t.status <> l_licence.status
"""

# Whom it names by number, else by name, else nobody.
REQUESTORS: Final = """
UPDATE l_request SET requestor = coalesce(
  (SELECT new_id FROM l_user WHERE l_user.id = requestor),
  (SELECT min(new_id) FROM l_user WHERE lower(l_user.username) = lower(requestor_name)))
"""
UNKNOWN_REQUESTOR: Final = f"""
INSERT INTO users (username, password_hash, role, active)
SELECT '{NOBODY}', 'none', 'user', false
WHERE EXISTS (SELECT FROM l_request WHERE requestor IS NULL)
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants of this module
OF_NOBODY: Final = f"""
UPDATE l_request SET requestor = u.id FROM users u
WHERE requestor IS NULL AND u.username = '{NOBODY}'
"""  # noqa: S608 - constants of this module
REQUESTS_KNOWN: Final = """
WITH theirs AS (
  SELECT id, requestor, application_name, version, created_at, row_number() OVER (
    PARTITION BY requestor, application_name, version, created_at ORDER BY id) AS place
  FROM l_request
), ours AS (
  SELECT id, requestor_id AS requestor, application_name, version, created_at,
    row_number() OVER (
      PARTITION BY requestor_id, application_name, version, created_at ORDER BY id) AS place
  FROM requests
)
UPDATE l_request SET new_id = ours.id, known = true
FROM theirs JOIN ours USING (requestor, application_name, version, created_at, place)
WHERE theirs.id = l_request.id
"""
REQUESTS: Final = """
INSERT INTO requests (id, application_name, version, requestor_id, lock_format, lock, entries,
  created_at, withdrawn_at)
SELECT new_id, application_name, version, requestor, lock_format, decode(lock, 'base64'),
  (SELECT count(*) FROM l_link WHERE request = l_request.id)
    + (SELECT count(*) FROM l_excluded WHERE request = l_request.id),
  created_at, withdrawn_at
FROM l_request WHERE NOT known ORDER BY new_id
"""
EXCLUSIONS: Final = """
INSERT INTO request_exclusions (request_id, entry, reason, detail)
SELECT r.new_id, entry, reason, detail
FROM l_excluded JOIN l_request r ON r.id = request WHERE NOT r.known
ON CONFLICT DO NOTHING
"""

PACKAGES_KNOWN: Final = """
UPDATE l_package SET new_id = t.id, known = true FROM packages t
WHERE (t.ecosystem, t.name, t.version) = ('npm', l_package.name, l_package.version)
"""
PACKAGES: Final = """
INSERT INTO packages (id, ecosystem, name, version, purl, created_at)
SELECT new_id, 'npm', name, version, purl, coalesce(created_at, now())
FROM l_package WHERE NOT known ORDER BY name, version
"""
OF_OUR_PACKAGES: Final = """
UPDATE l_artifact SET package = new_package.new_id
FROM l_package new_package WHERE new_package.id = package
"""
ARTIFACTS_KNOWN: Final = """
UPDATE l_artifact SET new_id = coalesce(t.merged_into, t.id), known = true FROM artifacts t
WHERE (t.package_id, t.integrity) = (package, l_artifact.integrity)
"""
ARTIFACTS: Final = """
INSERT INTO artifacts (id, package_id, integrity)
SELECT new_id, package, integrity FROM l_artifact WHERE NOT known ORDER BY package, integrity
"""
LINKS_KNOWN: Final = """
UPDATE l_link SET known = true
FROM l_request r, l_artifact a, request_packages t
WHERE r.id = request AND a.key = artifact
  AND (t.request_id, t.package_id, t.integrity) = (r.new_id, a.package, a.integrity)
"""
LINKS: Final = """
INSERT INTO request_packages (request_id, package_id, artifact_id, type, integrity, entries, dev,
  optional, license_claim)
SELECT r.new_id, a.package, a.new_id, type, a.integrity, entries, dev, optional, license_claim
FROM l_link JOIN l_request r ON r.id = request JOIN l_artifact a ON a.key = artifact
WHERE NOT l_link.known ORDER BY r.new_id, a.package
ON CONFLICT DO NOTHING
"""

# Triggers ask these of each row, with plans that were made for empty tables.
ANALYSE: Final = "ANALYZE users, requests, packages, artifacts, request_packages, package_status"
ANALYSE_DECISIONS: Final = "ANALYZE decisions"

# The bytes had a row of their own before, whatever became of it since: nothing of it is touched.
STATUSES_KNOWN: Final = """
UPDATE l_status SET new_id = t.id, known = true
FROM l_artifact a JOIN package_status t ON t.artifact_id = a.new_id WHERE a.key = artifact
"""
DECISIONS_KNOWN: Final = """
UPDATE l_decision SET known = true FROM l_status s
WHERE s.artifact = l_decision.artifact AND s.known
"""
DECISIONS: Final = """
INSERT INTO decisions (artifact_id, decision, decided_by, reason, verdict_digest, decided_at)
SELECT a.new_id, decision, u.new_id, reason, s.digest, coalesce(decided_at, s.updated_at, now())
FROM l_decision d
JOIN l_artifact a ON a.key = d.artifact
JOIN l_status s ON s.artifact = d.artifact
JOIN l_user u ON u.id = d.decided_by
WHERE NOT d.known ORDER BY d.id
"""
DECISIONS_REFUSED: Final = """
DELETE FROM l_decision WHERE NOT known AND NOT coalesce(
  decided_by IN (SELECT id FROM l_user WHERE decides(new_id))
  AND artifact IN (SELECT artifact FROM l_status), false)
"""
# The same question as the trigger's. An approval that nobody here may have given is no approval.
UNAPPROVED: Final = """
UPDATE l_status SET status = 'Pending Approval', digest = NULL
FROM l_artifact a
WHERE a.key = artifact AND NOT l_status.known AND l_status.status IN ('Approved', 'Published')
  AND NOT coalesce((
    SELECT decision = 'approve' AND verdict_digest = l_status.digest
      AND may_approve(a.new_id, decided_by)
    FROM decisions d WHERE d.artifact_id = a.new_id ORDER BY d.id DESC LIMIT 1), false)
"""
STATUSES: Final = f"""
INSERT INTO package_status (id, artifact_id, status, failure, failed_from, error, max_attempts,
  available_at, license_identifier, license_status, license_score, security_score, verdict_digest,
  vetted_at, created_at, completed_at, updated_at)
SELECT s.new_id, a.new_id, s.status, failure,
  CASE WHEN failure IS NOT NULL THEN '{VETTING_QUEUE.ready}' END, error,
  {VETTING_QUEUE.max_attempts},
  CASE s.status WHEN '{PUBLISHING_QUEUE.ready}' THEN 'infinity' ELSE now() END,
  license_identifier, license_status, license_score, security_score,
  CASE WHEN s.status IN ('Approved', 'Published') THEN digest END,
  CASE WHEN s.status <> '{VETTING_QUEUE.ready}' THEN s.updated_at END,
  coalesce(s.created_at, now()),
  CASE WHEN s.status NOT IN ('{VETTING_QUEUE.ready}', '{PUBLISHING_QUEUE.ready}')
    THEN coalesce(s.updated_at, now()) END,
  coalesce(s.updated_at, now())
FROM l_status s JOIN l_artifact a ON a.key = artifact
WHERE NOT s.known ORDER BY a.new_id
"""  # noqa: S608 - constants of this module
ENQUEUED: Final = f"""
INSERT INTO package_status (artifact_id, status, max_attempts)
SELECT DISTINCT a.new_id, '{VETTING_QUEUE.ready}', {VETTING_QUEUE.max_attempts}
FROM l_artifact a
WHERE NOT EXISTS (SELECT FROM package_status t WHERE t.artifact_id = a.new_id)
  AND EXISTS (SELECT FROM request_packages w WHERE w.artifact_id = a.new_id)
ORDER BY a.new_id
"""  # noqa: S608 - constants of this module
"""What the predecessor never began with: nobody has vetted it yet."""

SCANS_KNOWN: Final = """
UPDATE l_scan SET known = true FROM l_artifact a, security_scans t
WHERE a.key = artifact AND t.artifact_id = a.new_id AND t.scanned_at = l_scan.scanned_at
"""
SCANS: Final = """
INSERT INTO security_scans (artifact_id, result, coverage, notes, scanned_at)
SELECT a.new_id, 'not scanned', '[]', notes, s.scanned_at
FROM l_scan s JOIN l_artifact a ON a.key = artifact WHERE NOT s.known ORDER BY s.id
"""

# By its old number: an entry is never changed, so it says itself where it came from.
ENTRIES_KNOWN: Final = """
UPDATE l_entry SET new_id = t.id, known = true FROM audit_log t
WHERE starts_with(t.action, 'legacy.') AND t.detail ->> 'legacy_id' = l_entry.id::text
  AND t.at = l_entry.at
"""
ENTRIES: Final = """
INSERT INTO audit_log (id, at, actor_id, actor, action, subject, detail)
SELECT e.new_id, e.at, u.new_id, CASE WHEN u.new_id IS NULL THEN 'predecessor' ELSE '' END,
  e.action,
  e.kind || ':' || coalesce(CASE e.kind
    WHEN 'user' THEN (SELECT new_id FROM l_user WHERE id = e.resource)
    WHEN 'request' THEN (SELECT new_id FROM l_request WHERE id = e.resource)
    WHEN 'package' THEN (SELECT min(s.new_id) FROM l_status s WHERE s.package = e.resource)
    ELSE e.resource END::text, ''),
  jsonb_strip_nulls(jsonb_build_object(
    'legacy_id', e.id, 'legacy_resource', e.resource, 'details', e.details))
FROM l_entry e LEFT JOIN l_user u ON u.id = e.actor
WHERE NOT e.known ORDER BY e.new_id
"""

# Nobody is told of what ended before the move.
UNWATCHED: Final = f"""
DELETE FROM request_watches w USING l_request r
WHERE w.request_id = r.new_id AND NOT r.known AND NOT EXISTS (
  SELECT FROM request_packages p JOIN package_status s USING (artifact_id)
  WHERE p.request_id = r.new_id AND s.status = '{VETTING_QUEUE.ready}')
"""  # noqa: S608 - constants of this module
COUNTS: Final = "SELECT count(*), count(*) FILTER (WHERE known) FROM {stage}"
STANDINGS: Final = """
SELECT s.there, t.status, count(*)
FROM l_status s JOIN package_status t ON t.id = s.new_id GROUP BY 1, 2 ORDER BY 1, 2
"""
