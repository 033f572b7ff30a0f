"""Whether a person's word forbids a version: npm's ranges, matched as npm matches them."""

from collections.abc import Sequence
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Final

from backend.workloads.packages.semver import Key, parse

MAX_RANGE: Final = 256  # characters

_ORDER: Final = {"": eq, "=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}

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
    sets = _read(range_)
    if key is None or sets is None:
        return True
    spoken_of = (key, (*key[:3], True, ()))
    return any(
        all(_holds(c, one) for c in comparators) for comparators in sets for one in spoken_of
    )


def valid_range(range_: str) -> bool:
    """Whether npm would read it as a range of versions."""
    return _read(range_) is not None


@lru_cache(maxsize=4096)
def _read(range_: str) -> tuple[tuple[tuple[str, Key | None], ...], ...] | None:
    """A disjunction of conjunctions of (operator, version); the version None for any."""
    from nodesemver import ANY, Range  # 30 ms to import, and few packages are denied

    if not range_.strip() or len(range_) > MAX_RANGE or not range_.isascii():
        return None
    try:
        sets = Range(range_, loose=False).set
    except ValueError:
        return None
    return tuple(
        tuple((c.operator, None if c.semver == ANY else parse(c.semver.version)) for c in one)
        for one in sets
    )


def _holds(comparator: tuple[str, Key | None], key: Key) -> bool:
    operator, bound = comparator
    return bound is None or _ORDER[operator](key, bound)
