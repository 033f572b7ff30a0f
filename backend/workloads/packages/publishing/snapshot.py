"""What the publisher is given of a row: plain values, read after the row was claimed."""

from dataclasses import dataclass
from typing import Final

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.waivers.in_force import RESTS_ON_ENDED


@dataclass(frozen=True, slots=True)
class ApprovedPackage:
    """One package that waits to be published, or to be taken back.

    Attributes:
        sha512: hex, of the bytes that were vetted.
        verdict: the digest of the verdict as it stands now.
        approved: whether the last decision on it approved that very verdict, and no waiver that
            it rests on has ended, and its bytes were seen here.
        recall: "running" where the package is to be taken back, "asked" where that was asked for
            while it was being published.
        reason: why it was recalled.
        turn: whether no other version of the package is being published.
    """

    name: str
    version: str
    sha512: str
    verdict: str | None
    approved: bool
    recall: str | None
    reason: str | None
    turn: bool


# A version takes `latest` by what it sees, so versions of one package go one after the other. Whose
# turn it is stands in a row of its own; it is over when its holder's lease is, however that ends.
# The lock comes first: what follows then sees all that was written under it.
_LOCK: Final = Statement(
    """
SELECT pg_advisory_xact_lock(hashtextextended('publish ' || p.ecosystem || ' ' || p.name, 0))
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.id = %(row_id)s
""",
    kind="publish_lock",
)
_TURN: Final = Statement(
    """
INSERT INTO publication_turns AS turn (ecosystem, name, row_id)
SELECT p.ecosystem, p.name, s.id
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.id = %(row_id)s AND s.status = 'Publishing'
ON CONFLICT (ecosystem, name) DO UPDATE SET row_id = excluded.row_id
WHERE NOT EXISTS (
  SELECT FROM package_status holder
  WHERE holder.id = turn.row_id AND holder.id <> excluded.row_id AND holder.status = 'Publishing')
""",
    kind="publish_turn",
)
_READ: Final = Statement(
    f"""
SELECT p.name, p.version, a.sha512, s.verdict_digest, s.recall, last.reason,
  coalesce(last.decision = 'approve' AND last.verdict_digest = s.verdict_digest, false)
    AND NOT {RESTS_ON_ENDED} AND a.sha512 IS NOT NULL AS approved,
  EXISTS (
    SELECT FROM publication_turns turn
    WHERE turn.ecosystem = p.ecosystem AND turn.name = p.name AND turn.row_id = s.id) AS turn
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
LEFT JOIN LATERAL (
  SELECT decision, verdict_digest, reason FROM decisions
  WHERE artifact_id = a.id ORDER BY id DESC LIMIT 1) last ON true
WHERE s.id = %(row_id)s
""",  # noqa: S608 - put together from constants
    kind="publish_read",
)


def read(statements: Autocommit, row_id: int) -> ApprovedPackage | None:
    """Take the package's turn, if it is free, and read the row; None where it is gone.

    The lease is held: nobody else moves the row, so a turn that was taken lasts as long.
    """
    rows = statements.together((_LOCK, _TURN, _READ), {"row_id": row_id})
    if not rows:
        return None
    (found,) = rows
    return ApprovedPackage(
        name=found.name, version=found.version, sha512=found.sha512, verdict=found.verdict_digest,
        approved=found.approved, recall=found.recall, reason=found.reason, turn=found.turn,
    )  # fmt: skip
