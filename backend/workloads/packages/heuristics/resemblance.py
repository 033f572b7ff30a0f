"""The names that one package's is compared with, and what is said of those that are like it."""

from collections.abc import Iterator
from typing import Any, Final

from backend.workloads.packages.heuristics.names import MOST, likeness
from backend.workloads.packages.scanning.findings import Finding, Severity, npm_purl

# For the statement that reads one package, which has artifacts as ``a`` and packages as ``p``.
# Those of the same lock were found at its upload; of the house's these are mere candidates.
NAMES: Final = """json_build_object(
  'asked', (
    SELECT coalesce(json_agg(DISTINCT n.resembles), '[]')
    FROM request_packages w
    JOIN similar_names n ON n.request_id = w.request_id AND n.name = p.name
    WHERE w.artifact_id = a.id),
  'approved', (
    SELECT coalesce(json_agg(DISTINCT k.name), '[]') FROM approved_names k
    WHERE name_keys(k.name) && name_keys(p.name) AND k.ecosystem = p.ecosystem))"""


def resemblances(name: str, version: str, names: dict[str, Any] | None) -> Iterator[Finding]:
    """A finding for each name that ``name`` may be taken for.

    None where ``name`` itself is approved or published already: the others may be taken for it.

    Args:
        names: what :data:`NAMES` answered.
    """
    approved = set(names["approved"]) if names else set()
    if names is None or name in approved:
        return
    alike = {other: how for other in {*names["asked"], *approved} if (how := likeness(name, other))}
    for other in sorted(alike, key=lambda other: (other not in approved, other))[:MOST]:
        where = "which is approved here" if other in approved else "which the same lock asks for"
        yield Finding(
            id=f"similar-name:{other}",
            severity=Severity.MEDIUM,
            title=f"its name differs by {alike[other]} from {other}, {where}",
            source="lockkeeper",
            component=npm_purl(name, version),
            kind="heuristic",
        )
