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

FLAGS: Final = """
CASE WHEN EXISTS (
    SELECT FROM advisory_flags g WHERE g.artifact_id = w.artifact_id AND g.lifted_at IS NULL)
  THEN flags_shown(w.artifact_id) END
"""
"""Those of the artifact of a row ``w`` as JSON, null for none.

By a function (0019), which looks whether they stand: a statement that names its parts pays for them
where there is no flag, as mostly.
"""
