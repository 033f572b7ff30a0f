"""The two shapes of an npm lock, flattened: a map by location, and the older nested tree."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from backend.problems import Malformed, TooLarge
from backend.strictjson import shown
from backend.workloads.packages.lockfile.coordinates import valid_name
from backend.workloads.packages.lockfile.urls import redact_text

MAX_LOCATION = 2048  # characters; real ones have a few hundred
NODE_MODULES = "node_modules/"


class RawEntry(NamedTuple):
    """One entry as it stands in the lock.

    ``location`` is the folder relative to the project; ``folder`` what follows its last
    ``node_modules/``, None where the entry is a folder of the project itself.
    """

    location: str
    folder: str | None
    fields: Any


def from_packages(packages: Mapping[str, Any], *, max_entries: int) -> list[RawEntry]:
    """All entries of a ``packages`` section but the root's."""
    found = [
        RawEntry(_checked(location), _folder(location), fields)
        for location, fields in packages.items()
        if location
    ]
    check_count(len(found), max_entries)
    return found


def from_dependencies(
    lock: Mapping[str, Any], *, links: Mapping[str, str], max_entries: int
) -> list[RawEntry]:
    """All entries of a nested ``dependencies`` tree, parents first, in the lock's order.

    Args:
        lock: the document, or anything else with ``dependencies``.
        links: location → target of the links in ``packages``: what is nested below a link there
            has its folder below the target.

    Raises:
        Malformed: a ``dependencies`` that is not an object.
        TooLarge: more than ``max_entries``.
    """
    found: list[RawEntry] = []
    levels = [_children("", lock)]
    while levels:
        for base, name, fields in levels[-1]:
            location = _checked(f"{base}{NODE_MODULES}{_quoted(name)}")
            found.append(RawEntry(location, name, fields))
            check_count(len(found), max_entries)
            if isinstance(fields, dict) and "dependencies" in fields:
                levels.append(_children(f"{links.get(location, location)}/", fields))
                break
        else:
            levels.pop()
    return found


def check_count(count: int, max_entries: int) -> None:
    if count > max_entries:
        raise TooLarge(
            f"The lock file has more than {max_entries} entries.", code="too-many-entries"
        )


def _children(base: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    dependencies = fields.get("dependencies")
    if dependencies is not None and not isinstance(dependencies, dict):
        place = base.removesuffix("/") or "the lock file"
        raise Malformed(
            f"`dependencies` of {shown(place)} must be an object.", code="malformed-lock"
        )
    return ((base, name, child) for name, child in (dependencies or {}).items())


def _quoted(name: str) -> str:
    """A name that npm would refuse is quoted, so that it cannot pass for a nested location."""
    return name if valid_name(name) else json.dumps(name)


def _folder(location: str) -> str | None:
    before, found, folder = location.rpartition(NODE_MODULES)
    return folder if found and (not before or before.endswith("/")) else None


def _checked(location: str) -> str:
    """``location`` as it may be stored: a name that is a URL could hold a secret."""
    if len(location) > MAX_LOCATION:
        raise Malformed(
            f"The entry {shown(location)} has a longer path than {MAX_LOCATION} characters.",
            code="malformed-lock",
        )
    return redact_text(location) if ":" in location else location
