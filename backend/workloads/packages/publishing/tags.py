"""Which dist-tag a version gets: ``latest`` never moves backwards. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from backend.workloads.packages.semver import Key, parse

LATEST: Final = "latest"
OTHER: Final = "vetted"
"""A registry wants a tag with each version; this one says nothing of its age."""


def tag_for(version: str, latest: Any) -> str:
    """The tag of a new version, where ``latest`` is at another one (None or nonsense: at none).

    A pre-release takes it from another pre-release at most.
    """
    new, now = parse(version), _readable(latest)
    if new is None:
        return OTHER
    return LATEST if now is None or _follows(new, now) else OTHER


def newest(versions: Iterable[str]) -> str | None:
    """Where ``latest`` belongs once its version is gone: the highest release, else pre-release."""
    keys = {version: key for version in versions if (key := parse(version)) is not None}
    return max(keys, key=lambda version: (_released(keys[version]), keys[version]), default=None)


def _follows(new: Key, now: Key) -> bool:
    return new > now and (_released(new) or not _released(now))


def _released(key: Key) -> bool:
    return bool(key[3])


def _readable(version: Any) -> Key | None:
    return parse(version) if isinstance(version, str) else None
