"""The statements of an import: what was read, made to count, all in one transaction."""

from typing import Final

from backend.workloads.packages.advisories.known import SOURCE

# One import at a time: each looks at what all before it have stored.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lockkeeper.advisories', 0))"

STAGE: Final = "CREATE TEMPORARY TABLE staged_advisories (record jsonb NOT NULL) ON COMMIT DROP"

COPY_STAGED: Final = "COPY staged_advisories FROM STDIN WITH (FORMAT csv)"

_FUTURE: Final = "now() + interval '5 minutes'"

# Of records with one id the last modified counts. A date in the future is none, so that no record
# stays for ever. What concerns no npm package is kept only where it did before.
STORE: Final = f"""
CREATE TEMPORARY TABLE changed_advisories ON COMMIT DROP AS
WITH dated AS (
  SELECT record, record ->> 'id' AS id, CAST(record ->> 'modified_at' AS timestamptz) AS modified_at
  FROM staged_advisories
), newest AS (
  SELECT DISTINCT ON (id) * FROM dated
  ORDER BY id, nullif(modified_at, greatest(modified_at, {_FUTURE})) DESC NULLS LAST
)
SELECT newest.*, known.id IS NULL AS added
FROM newest LEFT JOIN advisories known USING (id)
WHERE (known.id IS NOT NULL OR newest.record -> 'packages' <> '{{}}')
  AND newest.record ->> 'digest' IS DISTINCT FROM known.digest
  AND (known.modified_at IS NULL OR known.modified_at > {_FUTURE}
    OR newest.modified_at >= known.modified_at)
"""  # noqa: S608 - put together from constants

STORE_ADVISORIES: Final = """
INSERT INTO advisories AS known
  (id, source, aliases, title, severity, withdrawn, modified_at, digest)
SELECT id, %(source)s, ARRAY(SELECT jsonb_array_elements_text(record -> 'aliases')),
  record ->> 'title', record ->> 'severity', CAST(record ->> 'withdrawn' AS boolean), modified_at,
  record ->> 'digest'
FROM changed_advisories
ON CONFLICT (id) DO UPDATE SET source = excluded.source, aliases = excluded.aliases,
  title = excluded.title, severity = excluded.severity, withdrawn = excluded.withdrawn,
  modified_at = excluded.modified_at, digest = excluded.digest, imported_at = now()
"""

FORGET_PACKAGES: Final = """
DELETE FROM advisory_packages
WHERE advisory_id IN (SELECT id FROM changed_advisories WHERE NOT added)
"""

STORE_PACKAGES: Final = """
INSERT INTO advisory_packages (name, advisory_id, affected)
SELECT package.key, id, package.value
FROM changed_advisories, jsonb_each(record -> 'packages') package
"""

# Known packages are judged again when they are asked for: workers say anew what they go by.
FORGET_STATE: Final = f"""
DELETE FROM advisory_states
WHERE source = '{SOURCE}' AND EXISTS (SELECT FROM changed_advisories)
"""  # noqa: S608 - put together from constants

# The pass that follows joins what was just stored.
SETTLE: Final = "ANALYZE advisories, advisory_packages, changed_advisories"

STATEMENTS: Final = (
    STORE, STORE_ADVISORIES, FORGET_PACKAGES, STORE_PACKAGES, FORGET_STATE, SETTLE
)  # fmt: skip
"""In their order. Parameters: ``source``."""

NOTE: Final = f"""
INSERT INTO advisory_imports
  (source, digest, read, added, changed, records, newest, checked, raised, lifted, reopened)
SELECT %(source)s, %(digest)s, %(read)s, count(*) FILTER (WHERE added),
  count(*) FILTER (WHERE NOT added),
  (SELECT count(*) FROM advisories WHERE NOT withdrawn),
  (SELECT max(modified_at) FROM advisories WHERE modified_at <= {_FUTURE}),
  %(checked)s, %(raised)s, %(lifted)s, %(reopened)s
FROM changed_advisories
RETURNING id, source, read, added, changed, records, newest, checked, raised, lifted, reopened
"""  # noqa: S608 - put together from constants
