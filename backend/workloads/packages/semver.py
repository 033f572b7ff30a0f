"""npm version order: SemVer 2.0 as npm compares it, old loose spellings included."""

from functools import lru_cache
from typing import Any

from nodesemver import clean, make_semver

_MAX_LENGTH = 256  # npm's own limit

Key = tuple[Any, ...]


@lru_cache(maxsize=65_536)
def parse(version: str) -> Key | None:
    """A key that sorts as npm orders versions; None for what npm would not accept as one.

    A pre-release sorts before its release, numeric identifiers below others, and build metadata
    does not count (SemVer 2.0, section 11).
    """
    if len(version) > _MAX_LENGTH or not version.isascii():
        return None
    readable = clean(version, loose=True)  # the parser alone would guess at "1.2" or "1.2.3.4"
    if readable is None:
        return None
    found = make_semver(readable, loose=True)
    identifiers = tuple(_identifier(part) for part in found.prerelease)
    return (found.major, found.minor, found.patch, not identifiers, identifiers)


def _identifier(part: int | str) -> tuple[bool, int, str]:
    text = str(part)
    numeric = text.isdigit()
    return (not numeric, int(text) if numeric else 0, "" if numeric else text)


def sort_key(version: str) -> tuple[Any, ...]:
    """For sorting: readable versions in npm's order, then the rest."""
    key = parse(version)
    return (0, key) if key is not None else (1, (version,))
