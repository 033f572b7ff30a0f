"""Which flags stand, in SQL: what a verdict tells of already needs none."""

from typing import Final


def _rank(column: str) -> str:
    """How bad a severity is, most first; what nobody rated counts as high."""
    order = "ARRAY['critical', 'high', 'medium', 'low']"
    return f"array_position({order}, CASE {column} WHEN 'unknown' THEN 'high' ELSE {column} END)"


def _sure(column: str) -> str:
    return f"array_position(ARRAY['undetermined', 'vulnerability', 'malware'], {column})"


def in_verdict(match: str, advisory: str) -> str:
    """A condition in SQL: the artifact's newest scan says the same, or something worse.

    Args:
        match: alias of a row with artifact_id, component, kind and severity.
        advisory: alias of its row of ``advisories``.
    """
    return f"""EXISTS (
  SELECT FROM findings f
  WHERE f.scan_id = (SELECT max(c.id) FROM security_scans c
                     WHERE c.artifact_id = {match}.artifact_id)
    AND f.component = {match}.component
    AND f.advisory || f.aliases && ({advisory}.id || {advisory}.aliases)
    AND {_sure("f.kind")} >= {_sure(f"{match}.kind")}
    AND {_rank("f.severity")} <= {_rank(f"{match}.severity")})"""  # noqa: S608 - constants


STANDING: Final = f"g.lifted_at IS NULL AND NOT {in_verdict('g', 'a')}"
"""A condition on ``advisory_flags g`` and its ``advisories a``.

A package that was judged anew since the last look at all may tell of it by now.
"""

OF_ARTIFACT: Final = f"""
SELECT json_agg(json_build_object('advisory', g.advisory_id, 'aliases', a.aliases, 'kind', g.kind,
  'severity', g.severity, 'title', a.title, 'fixed', g.fixed, 'component', g.component,
  'source', a.source, 'since', g.since) ORDER BY g.id)
FROM advisory_flags g JOIN advisories a ON a.id = g.advisory_id
WHERE g.artifact_id = w.artifact_id AND {STANDING}
"""  # noqa: S608 - put together from constants
"""Those of the artifact of a row ``w`` as JSON, null for none."""
