"""A lock as it was stored: read strictly once, at the upload, and balanced there."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from backend.workloads.packages.lockfile import MAX_ENTRIES
from backend.workloads.packages.lockfile.comparison import PREFIX
from backend.workloads.packages.lockfile.sections import (
    RawEntry,
    from_dependencies,
    from_packages,
)

Json = dict[str, Any]

__all__ = ["PREFIX", "Json", "StoredLock", "read_stored"]


class StoredLock(NamedTuple):
    """``packages`` and ``dependencies`` are its sections, flattened; None for one it has not.

    The fields of every entry are those of ``document`` itself: to change them changes it.
    """

    document: Json
    packages: list[RawEntry] | None
    dependencies: list[RawEntry] | None

    @property
    def main(self) -> list[RawEntry]:
        """The section whose entries bear their plain locations."""
        return self.packages if self.packages is not None else self.dependencies or []

    @property
    def older(self) -> list[RawEntry]:
        """The section whose entries bear :data:`PREFIX` where the main one contradicts them."""
        return self.dependencies or [] if self.packages is not None else []


def read_stored(lock: bytes) -> StoredLock:
    """Read a lock that an upload accepted."""
    document: Json = from_json(lock)
    named = document.get("packages")
    packages = None if named is None else from_packages(named, max_entries=MAX_ENTRIES)
    dependencies = None
    if packages is None or "dependencies" in document:
        links = link_targets({raw.location: raw.fields for raw in packages or []})
        dependencies = from_dependencies(document, links=links, max_entries=MAX_ENTRIES)
    return StoredLock(document, packages, dependencies)


def link_targets(entries: Mapping[str, Any]) -> dict[str, str]:
    """The folder each link leads to, by the link's location."""
    return {
        location: fields["resolved"]
        for location, fields in entries.items()
        if isinstance(fields, dict)
        and fields.get("link") is True
        and isinstance(fields.get("resolved"), str)
    }
