"""Debts, stored without doubles. What a child found says where each is; its words are read here."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

BATCH: Final = 5_000
"""Debts of one statement, stored in well under a second."""

# Whose they are follows from the interaction and from the task, never from what the child says.
# An interaction that somebody deletes at this moment is waited for, and is gone or stays till the
# commit. Two tasks at once lock the same rows in the same order; two alike in one interaction are
# one debt.
_SAVE: Final = text(r"""
WITH given AS (
  SELECT * FROM unnest(
    CAST(:ids AS bigint[]), CAST(:starts AS integer[]), CAST(:lengths AS integer[]),
    CAST(:kinds AS text[]), CAST(:severities AS text[]), CAST(:reasons AS text[])
  ) AS g (interaction_id, start, length, kind, severity, reason)
), kept AS (
  SELECT id, user_id, text FROM interactions
  WHERE id = ANY (CAST(:ids AS bigint[]))
    AND (CAST(:user_id AS bigint) IS NULL OR user_id = :user_id)
  ORDER BY id FOR KEY SHARE
), said AS (
  SELECT g.*, kept.user_id, substr(kept.text, g.start + 1, g.length) AS sentence
  FROM given g JOIN kept ON kept.id = g.interaction_id
), told AS (
  SELECT DISTINCT ON (interaction_id, kind, digest) * FROM (
    SELECT *, sha256(convert_to(lower(regexp_replace(sentence, '\s+', ' ', 'g')), 'UTF8')) AS digest
    FROM said
  ) s
  ORDER BY interaction_id, kind, digest, start
), saved AS (
  INSERT INTO debts (user_id, interaction_id, kind, severity, sentence, sentence_digest, reason)
  SELECT user_id, interaction_id, kind, severity, sentence, digest, reason FROM told
  ORDER BY interaction_id, kind, digest
  ON CONFLICT (interaction_id, kind, sentence_digest) DO NOTHING
  RETURNING interaction_id, kind, sentence_digest
)
SELECT told.severity, saved.kind IS NOT NULL AS new, debts.status = 'resolved' AS resolved, count(*)
FROM told
LEFT JOIN saved ON (saved.interaction_id, saved.kind, saved.sentence_digest)
  = (told.interaction_id, told.kind, told.digest)
LEFT JOIN debts ON (debts.interaction_id, debts.kind, debts.sentence_digest)
  = (told.interaction_id, told.kind, told.digest)
GROUP BY 1, 2, 3
""")


def save_debts(
    session: Session, user_id: int | None, found: Sequence[Sequence[Any]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Store what is new of ``found``: interaction, start, length, kind, severity, reason of each.

    An interaction that is gone, or not of ``user_id`` where it is not None, is passed over.

    Returns:
        By severity how many are new, known and open, and known and resolved.
    """
    new, still_open, resolved = Counter[str](), Counter[str](), Counter[str]()
    for begin in range(0, len(found), BATCH):
        columns = zip(*found[begin : begin + BATCH], strict=True)
        names = ("ids", "starts", "lengths", "kinds", "severities", "reasons")
        given = {name: list(column) for name, column in zip(names, columns, strict=True)}
        rows = session.execute(_SAVE, {"user_id": user_id, **given})
        for severity, is_new, is_resolved, count in rows:
            counted = new if is_new else resolved if is_resolved else still_open
            counted[severity] += count
    return new, still_open, resolved
