"""npm's ranges of versions: read once, and matched by npm's order."""

from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Final

from backend.workloads.packages.semver import Key, parse

MAX_RANGE: Final = 256  # characters
FAR: Final = 99
"""A range from the first version on that ends no sooner than at this major has no end."""

Comparator = tuple[str, Key | None]
"""An operator and its version; None for any."""

_ORDER: Final = {"": eq, "=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}
_FIRST: Final = (0, 0, 1)  # hardly anything is published below it


@lru_cache(maxsize=4096)
def read(range_: str) -> tuple[tuple[Comparator, ...], ...] | None:
    """A disjunction of conjunctions; None for what npm would not read as a range."""
    from nodesemver import ANY, Range  # 30 ms to import, and few packages need it

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


def valid_range(range_: str) -> bool:
    """Whether npm would read it as a range of versions."""
    return read(range_) is not None


def holds(comparator: Comparator, key: Key) -> bool:
    operator, bound = comparator
    return bound is None or _ORDER[operator](key, bound)


def includes(range_: str, version: str) -> bool:
    """Whether npm would install the version for the range; what cannot be read is in none.

    A pre-release is in a range only where the range names one of the same release.
    """
    key, sets = parse(version), read(range_)
    if key is None or sets is None:
        return False
    return any(
        all(holds(c, key) for c in one) and (_released(key) or any(_names(c, key) for c in one))
        for one in sets
    )


def _released(key: Key) -> bool:
    return bool(key[3])


def _names(comparator: Comparator, key: Key) -> bool:
    bound = comparator[1]
    return bound is not None and not _released(bound) and bound[:3] == key[:3]


def takes_everything(range_: str) -> bool:
    """Whether the range leaves no version out, but for single ones in between."""
    spans = sorted(s for s in map(_span, read(range_) or ()) if s[0] <= s[1])
    if not spans or spans[0][0] > _FIRST:
        return False
    reached = spans[0][1]
    for start, end in spans[1:]:
        major, minor, patch = reached
        if start > (major, minor, patch + 1):
            return False
        reached = max(reached, end)
    return reached[0] >= FAR


def _span(one: tuple[Comparator, ...]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """From the first release of a conjunction to its last, both at most one wide of the mark."""
    start, end = (0, 0, 0), (FAR, 0, 0)
    for operator, bound in one:
        if bound is None:
            continue
        release = (bound[0], bound[1], bound[2])
        if operator in {"", "=", ">", ">="}:
            start = max(start, release)
        if operator in {"", "=", "<", "<="}:
            end = min(end, release)
    return start, end
