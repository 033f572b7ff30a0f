"""The statements of an upload; each is one round trip.

Where two stand in one text they are sent together, and yet the second has a snapshot of its own:
it sees what the first had to wait for.
"""

from typing import Final

from backend.autocommit import Statement
from backend.identity.callers import Deed
from backend.workloads.packages.lifecycle import VETTING_QUEUE

# What a lock asks for, line by line: a package with one of its hashes, perhaps of several.
_GIVEN: Final = """
ROWS FROM (json_to_recordset(CAST(%(lines)s AS json)) AS (
    ecosystem text, name text, version text, purl text, integrity text, entries text[],
    dev boolean, optional boolean, license_claim text)) WITH ORDINALITY
  AS given(ecosystem, name, version, purl, integrity, entries, dev, optional, license_claim, place)
"""

_REQUEST: Final = """
INSERT INTO requests (application_name, version, requestor_id, lock_format, lock, entries, priority)
  SELECT %(application_name)s, %(version)s, CAST(%(requestor_id)s AS bigint), %(lock_format)s,
    CAST(%(lock)s AS bytea), CAST(%(entries)s AS integer), CAST(%(priority)s AS smallint)
"""

_NAMED: Final = """
INSERT INTO packages (ecosystem, name, version, purl)
  SELECT ecosystem, name, version, purl
"""

_AUDITED: Final = """
audited AS (
  INSERT INTO audit_log (actor_id, action, subject, detail)
  SELECT CAST(%(requestor_id)s AS bigint), 'request.submitted',
    'request:' || request.id, CAST(%(detail)s AS jsonb)
  FROM request
)
"""

# What else belongs to the request alone; most locks give no cause for any of it.
_NOTED: Final = """
excluded AS (
  INSERT INTO request_exclusions (request_id, entry, reason, detail)
  SELECT request.id, note.entry, note.reason, note.detail
  FROM request, ROWS FROM (json_to_recordset(CAST(%(exclusions)s AS json)) AS (
    entry text, reason text, detail text)) WITH ORDINALITY AS note(entry, reason, detail, place)
  ORDER BY place
), noticed AS (
  INSERT INTO request_notices (request_id, entry, kind, detail)
  SELECT request.id, note.entry, note.kind, note.detail
  FROM request, ROWS FROM (json_to_recordset(CAST(%(differences)s AS json)) AS (
    entry text, kind text, detail text)) WITH ORDINALITY AS note(entry, kind, detail, place)
  ORDER BY place
), compared AS (
  INSERT INTO similar_names (request_id, name, resembles)
  SELECT request.id, alike.name, alike.resembles
  FROM request, json_to_recordset(CAST(%(alike)s AS json)) AS alike(name text, resembles text)
)
"""


def _new(*, by: str, keys: str = "", unless: str = "", noted: str = "", where: str = "") -> str:
    """Everything, or no row at all; at worst some names are left. Parts of a WITH.

    Whoever names packages that nobody has named before has all below them to itself: no one else
    sees these artifacts, or waits for one.

    Args:
        by: the columns that tell lines apart.
        keys: the same, where they are none that were given.
        unless: when no package is to be named.
        noted: more parts of the WITH, each ended by a comma.
        where: when a request is to be stored at all.
    """
    return f"""
given AS MATERIALIZED (
  SELECT {f"{keys}, " if keys else ""}given.* FROM {_GIVEN}
), named AS (
  {_NAMED}
  FROM given
  {unless}
  ORDER BY ecosystem, name, version
  ON CONFLICT DO NOTHING
  RETURNING id, {keys or by}
), request AS (
  {_REQUEST}
  WHERE (SELECT count(*) FROM named) = CAST(%(packages)s AS bigint) {where}
  RETURNING id
), line AS MATERIALIZED (
  SELECT request.id AS request_id, named.id AS package_id, integrity, entries, dev, optional,
    license_claim
  FROM request, given JOIN named USING ({by})
), artifact AS (
  INSERT INTO artifacts (package_id, integrity)
  SELECT package_id, integrity FROM line
  RETURNING id, package_id
), queued AS (
  INSERT INTO package_status (artifact_id, status, priority, max_attempts)
  SELECT id, '{VETTING_QUEUE.ready}', CAST(%(priority)s AS smallint), {VETTING_QUEUE.max_attempts}
  FROM artifact
), linked AS (
  INSERT INTO request_packages (request_id, package_id, artifact_id, type, integrity, entries,
    dev, optional, license_claim)
  SELECT request_id, package_id, artifact.id, 'new', integrity, entries, dev, optional,
    license_claim
  FROM line JOIN artifact USING (package_id)
), {noted} {_AUDITED}
"""  # noqa: S608 - constants of this module


def _alone(parts: str) -> Statement:
    return Statement(f"WITH {parts} SELECT id FROM request")  # noqa: S608 - constants of this module


NEW: Final = _alone(
    _new(
        by="key",  # one column: by three, one row would be expected
        keys="ROW(ecosystem, name, version) AS key",
        # One at a time: the plan may be older than most packages, and never reads them all.
        unless="""
  WHERE NOT EXISTS (
    SELECT FROM given, LATERAL (
      SELECT FROM packages p
      WHERE (p.ecosystem, p.name, p.version) = (given.ecosystem, given.name, given.version)
      LIMIT 1) known)
""",
        noted=f"{_NOTED},",
    )
)
"""A lock of which every package is new and stands in one line: all of it, or no row."""

FEW: Final = 16
"""Packages that are named sooner than it takes to ask whether one of them is known."""

_LINES: Final = "ecosystem, name, version"

NEW_FEW: Final = _alone(_new(by=_LINES))
"""The same for at most ``FEW`` packages of a lock that gives nothing to note, for a sixth less.

Where one of them is known the others are named, and that is all.
"""

_TAKEN: Final = "EXISTS (SELECT FROM taken)"

FEW_AT_ONCE: Final = Deed(
    steps=_new(by=_LINES, unless=f"WHERE {_TAKEN}", where=f"AND {_TAKEN}"),
    columns="request.id",
    join="LEFT JOIN request ON true",
)
"""``NEW_FEW``, for one who may upload it; with it goes the question whether they may."""

OPEN: Final = f"""
WITH request AS (
  {_REQUEST}
  RETURNING id
), named AS (
  {_NAMED}
  FROM {_GIVEN}
  ORDER BY ecosystem, name, version
  ON CONFLICT DO NOTHING
), {_NOTED}, {_AUDITED}
SELECT id FROM request
"""  # noqa: S608 - constants of this module
"""The request, and its packages in sorted order."""

ARTIFACTS: Final = f"""
INSERT INTO artifacts (package_id, integrity)
SELECT packages.id, given.integrity
FROM {_GIVEN} JOIN packages USING (ecosystem, name, version)
ORDER BY packages.id, given.integrity
ON CONFLICT DO NOTHING;

-- A worker that merges one of them just now (see recording) goes first, or waits for us.
SELECT package_id, coalesce(artifacts.merged_into, artifacts.id) AS artifact_id, place,
  (SELECT count(*) FROM artifacts named
   WHERE named.package_id = packages.id AND starts_with(named.integrity, 'sha512-')) AS hashes
FROM {_GIVEN} JOIN packages USING (ecosystem, name, version)
JOIN artifacts ON package_id = packages.id AND artifacts.integrity = given.integrity
ORDER BY artifacts.id FOR KEY SHARE OF artifacts
"""  # noqa: S608 - constants of this module
"""Of each line, whose package is known by now: the artifact, locked; one that was merged answers
with its survivor. And how many sha512 hashes are known of its package."""

# Artifacts that are queued are not even tried: an insert waits for whoever writes a row of the same
# key, and a worker that writes it may wait for our lock on its artifact.
ENQUEUE: Final = f"""
INSERT INTO package_status (artifact_id, status, priority, max_attempts)
SELECT id, '{VETTING_QUEUE.ready}', %(priority)s, {VETTING_QUEUE.max_attempts}
FROM unnest(CAST(%(artifacts)s AS bigint[])) AS given(id)
WHERE NOT EXISTS (SELECT FROM package_status WHERE artifact_id = given.id)
ORDER BY id
ON CONFLICT (artifact_id) DO NOTHING
RETURNING artifact_id
"""  # noqa: S608 - constants of this module
"""One queue row for each artifact that has none; answers those artifacts."""

LINK: Final = f"""
-- Keeps a withdrawal from ending known rows unseen; workers are not in its way.
SELECT id FROM package_status WHERE artifact_id = ANY (CAST(%(known)s AS bigint[]))
ORDER BY id FOR KEY SHARE;

INSERT INTO request_packages (request_id, package_id, artifact_id, type, integrity, entries, dev,
  optional, license_claim)
SELECT %(request_id)s, packages.id, coalesce(merged_into, artifacts.id),
  CASE WHEN coalesce(merged_into, artifacts.id) = ANY (CAST(%(fresh)s AS bigint[])) THEN 'new'
    ELSE 'existing' END,
  given.integrity, entries, dev, optional, license_claim
FROM {_GIVEN} JOIN packages USING (ecosystem, name, version)
JOIN artifacts ON package_id = packages.id AND artifacts.integrity = given.integrity
ORDER BY place
"""  # noqa: S608 - constants of this module
"""Locks the queue rows of ``known`` artifacts and stores the lines; their artifacts are locked."""
