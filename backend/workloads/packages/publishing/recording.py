"""What the publisher did, written inside the fenced commit: the fence goes first."""

import json
from typing import Any, Final

from backend.autocommit import Statement
from backend.queue.writes import OURS, Write
from backend.workloads.packages.steps.publish import Publication, TakenBack, Voided

ACTOR: Final = "package_publisher"

_NOTED: Final = """
  INSERT INTO audit_log (actor, action, subject, detail)
  SELECT %(actor)s, %(action)s, 'package:' || %(row_id)s, CAST(%(detail)s AS jsonb)
  FROM mine
"""
_MINE: Final = f"""
  SELECT artifact_id FROM package_status WHERE id = %(row_id)s AND {OURS}
"""  # noqa: S608 - put together from constants

_PUBLISHED: Final = Statement(
    f"""
WITH mine AS ({_MINE}), noted AS ({_NOTED})
INSERT INTO publications AS known (
  artifact_id, target, integrity, shasum, tag, verdict_digest)
SELECT artifact_id, %(registry)s, %(integrity)s, %(shasum)s, %(tag)s, %(verdict)s FROM mine
ON CONFLICT (artifact_id, target) DO UPDATE
SET tag = coalesce(excluded.tag, known.tag), verdict_digest = excluded.verdict_digest,
  taken_back = NULL, taken_back_at = NULL
RETURNING id
""",  # noqa: S608 - put together from constants
    kind="published",
)
_TAKEN_BACK: Final = Statement(
    f"""
WITH mine AS ({_MINE}), noted AS ({_NOTED}), gone AS (
  UPDATE publications SET taken_back = %(how)s, taken_back_at = now()
  WHERE target = %(registry)s AND artifact_id IN (SELECT artifact_id FROM mine)
)
SELECT artifact_id FROM mine
""",  # noqa: S608 - put together from constants
    kind="taken_back",
)
# Refused by the engine's words, in the same transaction: its history says why. For the domain it
# is a package that waits for a person; a recall before it was published ends there, too.
_VOIDED: Final = Statement(
    f"""
WITH mine AS ({_MINE}), noted AS ({_NOTED})
UPDATE package_status
SET status = 'Pending Approval', failure = NULL, failed_from = NULL, step = NULL, recall = NULL
WHERE id = %(row_id)s AND {OURS}
RETURNING id
""",  # noqa: S608 - put together from constants
    kind="voided",
)


def of_publishing(result: Publication | TakenBack | Voided) -> Write:
    """Where the bytes are now, or are no more; and a line for the audit log."""
    match result:
        case Publication():
            detail: dict[str, Any] = {
                "registry": result.registry,
                "integrity": result.integrity,
                "tag": result.tag,
            }
            values = {
                "registry": result.registry, "integrity": result.integrity, "tag": result.tag,
                "shasum": result.shasum, "verdict": result.verdict,
            }  # fmt: skip
            return _write(_PUBLISHED, "package.published", detail, values)
        case TakenBack():
            detail = {"registry": result.registry, "how": result.how}
            return _write(_TAKEN_BACK, "package.taken_back", detail, detail)
        case Voided():
            return _write(_VOIDED, "package.approval_voided", {}, {})


def _write(
    statement: Statement, action: str, detail: dict[str, Any], values: dict[str, Any]
) -> Write:
    said = {"actor": ACTOR, "action": action, "detail": json.dumps(detail)}
    return Write((statement,), {**values, **said})
