"""Whether a person's word forbids a version: npm's ranges, matched as npm matches them."""

from collections.abc import Sequence
from typing import Final

from backend.workloads.packages.ranges import holds, read
from backend.workloads.packages.semver import parse

DENIALS: Final = """
(SELECT json_agg(json_build_array(d.range, d.reason) ORDER BY d.id) FROM denied_packages d
 WHERE d.ecosystem = p.ecosystem AND d.name = p.name AND d.lifted_at IS NULL)
"""
"""In SQL: what is denied of the package ``p``, as JSON pairs of range and reason; mostly NULL."""


def denial_of(version: str, denials: Sequence[Sequence[str]] | None) -> str | None:
    """Why ``version`` is denied, in a sentence; None where it is not."""
    return next(
        (f"denied: {reason}" for range_, reason in denials or () if denies(range_, version)), None
    )


def denies(range_: str, version: str) -> bool:
    """Whether the range has the version. Where either cannot be read, it is denied.

    Versions are in npm's order, whatever npm thinks of pre-releases in ranges: one is denied where
    it stands in the range itself, and also with the release that it leads to.
    """
    key = parse(version)
    sets = read(range_)
    if key is None or sets is None:
        return True
    spoken_of = (key, (*key[:3], True, ()))
    return any(all(holds(c, one) for c in comparators) for comparators in sets for one in spoken_of)
