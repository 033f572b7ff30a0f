"""The statements of the look at every known artifact: candidates by name out, matches in."""

from typing import Final

from backend.workloads.packages.advisories.flagging import in_verdict

# Every manifest inside a package counts, as it does in a scan. The index on those that have any
# keeps the others' evidence, which is large, unread.
_BUNDLED: Final = """
SELECT e.artifact_id, bundled.name, bundled.version
FROM artifact_evidence e,
  jsonb_to_recordset(e.inspection -> 'components') AS bundled(name text, version text)
WHERE jsonb_array_length(e.inspection -> 'components') > 0
"""

# What an artifact consists of that any advisory names.
COMPONENTS: Final = f"""
CREATE TEMPORARY TABLE named_components ON COMMIT DROP AS
SELECT a.id AS artifact_id, p.name, p.version
FROM packages p JOIN artifacts a ON a.package_id = p.id
WHERE p.ecosystem = 'npm' AND a.merged_into IS NULL
  AND p.name IN (SELECT name FROM advisory_packages)
UNION
SELECT bundled.* FROM ({_BUNDLED}) bundled JOIN artifacts a ON a.id = bundled.artifact_id
WHERE a.merged_into IS NULL AND bundled.name IN (SELECT name FROM advisory_packages)
"""  # noqa: S608 - put together from constants

SETTLE_COMPONENTS: Final = "ANALYZE named_components"

# One row a name: its versions, and all that is said against it. Read in parts: it may be large.
CANDIDATES: Final = """
DECLARE advisory_candidates NO SCROLL CURSOR FOR
SELECT known.name, known.versions, (
    SELECT json_agg(json_build_object('id', a.id, 'source', a.source, 'aliases', a.aliases,
      'title', a.title, 'severity', a.severity, 'affected', n.affected))
    FROM advisory_packages n JOIN advisories a ON a.id = n.advisory_id
    WHERE n.name = known.name AND NOT a.withdrawn) AS advisories
FROM (SELECT name, array_agg(DISTINCT version) AS versions
      FROM named_components GROUP BY name) known
"""

FETCH: Final = "FETCH 1000 FROM advisory_candidates"

CLOSE: Final = "CLOSE advisory_candidates"

MATCHES: Final = """
CREATE TEMPORARY TABLE advisory_matches (name text, version text, advisory_id text, component text,
  kind text, severity text, fixed jsonb) ON COMMIT DROP
"""

COPY_MATCHES: Final = "COPY advisory_matches FROM STDIN WITH (FORMAT csv)"

SETTLE_MATCHES: Final = "ANALYZE advisory_matches"


# Each artifact's matches, once though several of its components may be the same package.
FOUND: Final = f"""
CREATE TEMPORARY TABLE found_advisories ON COMMIT DROP AS
SELECT matched.*, {in_verdict("matched", "a")} AS known
FROM (
  SELECT DISTINCT c.artifact_id, m.advisory_id, m.component, m.kind, m.severity, m.fixed
  FROM advisory_matches m JOIN named_components c ON c.name = m.name AND c.version = m.version
) matched
JOIN advisories a ON a.id = matched.advisory_id
WHERE EXISTS (SELECT FROM package_status s WHERE s.artifact_id = matched.artifact_id)
"""  # noqa: S608 - put together from constants

LIFT: Final = """
UPDATE advisory_flags g
SET lifted_at = now(), lifted_because = CASE
    WHEN a.withdrawn THEN 'withdrawn'
    WHEN x.advisory_id IS NULL THEN 'not affected'
    WHEN x.known THEN 'in the verdict'
    ELSE 'changed' END
FROM advisory_flags old
JOIN advisories a ON a.id = old.advisory_id
LEFT JOIN found_advisories x ON x.artifact_id = old.artifact_id
  AND x.advisory_id = old.advisory_id AND x.component = old.component
WHERE g.id = old.id AND old.lifted_at IS NULL AND (x.advisory_id IS NULL OR x.known
  OR (x.kind, x.severity) <> (old.kind, old.severity))
"""

# What repairs it may become known later: that is no news of the package.
MEND: Final = """
UPDATE advisory_flags g SET fixed = ARRAY(SELECT jsonb_array_elements_text(x.fixed))
FROM found_advisories x
WHERE g.lifted_at IS NULL AND x.artifact_id = g.artifact_id AND x.advisory_id = g.advisory_id
  AND x.component = g.component AND g.fixed <> ARRAY(SELECT jsonb_array_elements_text(x.fixed))
"""

# A trigger tells those who want to hear of it.
RAISE: Final = """
WITH raised AS (
  INSERT INTO advisory_flags (artifact_id, advisory_id, component, kind, severity, fixed)
  SELECT artifact_id, advisory_id, component, kind, severity,
    ARRAY(SELECT jsonb_array_elements_text(fixed))
  FROM found_advisories WHERE NOT known
  ORDER BY artifact_id, advisory_id, component
  ON CONFLICT (artifact_id, advisory_id, component) WHERE lifted_at IS NULL DO NOTHING
  RETURNING artifact_id
)
SELECT count(*) FROM raised
"""

CHECKED: Final = "SELECT count(*) FROM artifacts WHERE merged_into IS NULL"

# Neither refused nor public, and the verdict tells of less than is known: what a person was shown,
# or has approved, is to be found anew. Also what was being vetted while the last import looked.
UNDECIDED: Final = """
SELECT id FROM package_status
WHERE status IN ('Pending Approval', 'Approved')
  AND artifact_id IN (SELECT artifact_id FROM advisory_flags WHERE lifted_at IS NULL)
ORDER BY id
"""
