"""The statements that write what steps found; each is one round trip at most.

The fence of the row named by ``row_id`` goes before them in the same transaction, so the row is
locked and its artifact stays the same one.
"""

from typing import Final

from backend.autocommit import Statement
from backend.queue.writes import HELD, OURS
from backend.workloads.packages.advisories import known
from backend.workloads.packages.policy import MARK

# Set by the fence itself.
VERDICT: Final = (
    ("license_identifier", ":expression"),
    ("license_status", ":tier"),
    ("license_score", ":score"),
    ("policy_digest", ":policy_digest"),
    ("rulings", "CAST(:rulings AS jsonb)"),
    ("verdict_until", "CAST(:verdict_until AS timestamptz)"),
    ("vetted_at", "now()"),
)
LICENSED: Final = (
    *VERDICT,
    ("verdict_digest", "NULL"),  # the verdict comes with the scan
    ("waivers", "NULL"),
)
LICENCE: Final = Statement(f"""
INSERT INTO artifact_evidence (artifact_id, registry_record, updated_at)
SELECT artifact_id, CAST(%(record)s AS jsonb), now()
FROM package_status WHERE id = %(row_id)s AND {OURS}
ON CONFLICT (artifact_id) DO UPDATE
SET registry_record = excluded.registry_record, updated_at = excluded.updated_at
RETURNING artifact_id
""")  # noqa: S608 - put together from constants

UNREAD: Final = Statement(f"""
SELECT artifact_id FROM package_status WHERE id = %(row_id)s AND {OURS}
""")  # noqa: S608 - put together from constants
"""Nothing was read about it: the verdict is all there is."""

# In the ordinary case nobody else has these bytes. Where somebody has, their unique index refuses
# the second statement; the package is locked first, so that MERGING sees them.
LOCK_PACKAGE: Final = Statement("""
SELECT id FROM packages WHERE id = (
  SELECT package_id FROM artifacts WHERE id = (
    SELECT artifact_id FROM package_status WHERE id = %(row_id)s))
FOR NO KEY UPDATE
""")
DOWNLOAD: Final = Statement(f"""
UPDATE artifacts
SET sha512 = %(sha512)s, size = %(size)s, checked = %(checked)s,
  registry_agrees = %(registry_agrees)s
WHERE id = (SELECT artifact_id FROM package_status WHERE id = %(row_id)s AND {OURS})
RETURNING id
""")  # noqa: S608 - put together from constants

# Several statements in one text: each sees what the one before it had to wait for. Of two artifacts
# that turn out to be twins at the same moment one must see the other: the package's row is locked
# first. The artifact's own is locked against uploads that link it.
MERGING: Final = """
SELECT id FROM packages WHERE id = (
  SELECT package_id FROM artifacts WHERE id = (
    SELECT artifact_id FROM package_status WHERE id = %(row_id)s))
FOR NO KEY UPDATE;
SELECT id FROM artifacts WHERE id = (
  SELECT artifact_id FROM package_status WHERE id = %(row_id)s)
FOR UPDATE;
UPDATE artifacts
SET sha512 = %(sha512)s, size = %(size)s, checked = %(checked)s,
  registry_agrees = %(registry_agrees)s, merged_into = (
    SELECT twin.id FROM artifacts twin
    WHERE twin.package_id = artifacts.package_id AND twin.sha512 = %(sha512)s
      AND twin.merged_into IS NULL AND twin.id <> artifacts.id)
WHERE id = (SELECT artifact_id FROM package_status WHERE id = %(row_id)s)
RETURNING id, merged_into
"""

INSPECTION: Final = Statement(f"""
INSERT INTO artifact_evidence (artifact_id, inspection, updated_at)
SELECT artifact_id, CAST(%(inspection)s AS jsonb), now()
FROM package_status WHERE id = %(row_id)s AND {OURS}
ON CONFLICT (artifact_id) DO UPDATE
SET inspection = excluded.inspection, updated_at = excluded.updated_at
RETURNING artifact_id
""")  # noqa: S608 - put together from constants
# The scan comes next, and judges by the policy and the imported advisories as they are then.
POLICY: Final = Statement(f"""
SELECT {MARK} AS policy_mark, {known.about("ANY(%(names)s)")} AS imported
FROM package_status WHERE id = %(row_id)s AND {HELD}
""")  # noqa: S608 - put together from constants

# One word for the advisory records in use: those that this scan went by, and other sources' last.
_ADVISORIES: Final = """(
  WITH used AS (
    SELECT source, digest
    FROM json_to_recordset(CAST(:advisories AS json)) AS given(source text, digest text)
  )
  SELECT coalesce(string_agg(digest, '+' ORDER BY source), '')
  FROM (
    SELECT source, digest FROM used
    UNION ALL
    SELECT source, digest FROM advisory_states WHERE source NOT IN (SELECT source FROM used)
  ) AS known)
"""
SCANNED: Final = (
    *VERDICT,
    ("security_score", ":security_score"),
    ("scan_result", ":scan_result"),
    ("verdict_digest", ":verdict_digest"),
    ("waivers", "CAST(:waivers AS bigint[])"),
    ("advisories_digest", _ADVISORIES),
)
# Which advisory records are in use is written only where that changed: an upsert alone would lock
# the rows even so, and scans would queue up for them.
SCAN: Final = Statement(f"""
WITH mine AS (
  SELECT artifact_id FROM package_status WHERE id = %(row_id)s AND {OURS}
), used AS (
  SELECT source, digest
  FROM json_to_recordset(CAST(%(advisories)s AS json)) AS given(source text, digest text)
), learnt AS (
  INSERT INTO advisory_states AS known (source, digest)
  SELECT source, digest FROM used, mine
  WHERE NOT EXISTS (
    SELECT FROM advisory_states same
    WHERE same.source = used.source AND same.digest = used.digest)
  ORDER BY source
  ON CONFLICT (source) DO UPDATE SET digest = excluded.digest, loaded_at = now()
  WHERE known.digest <> excluded.digest
), scan AS (
  INSERT INTO security_scans (artifact_id, result, score, coverage, notes)
  SELECT artifact_id, %(scan_result)s, CAST(%(security_score)s AS smallint),
    CAST(%(coverage)s AS jsonb), CAST(%(notes)s AS text[])
  FROM mine
  RETURNING id
), found AS (
  INSERT INTO findings (scan_id, advisory, aliases, kind, severity, title, fixed, source,
    component)
  SELECT scan.id, given.*
  FROM scan, json_to_recordset(CAST(%(findings)s AS json)) AS given(
    advisory text, aliases text[], kind text, severity text, title text, fixed text[],
    source text, component text)
)
SELECT id FROM scan
""")  # noqa: S608 - put together from constants
