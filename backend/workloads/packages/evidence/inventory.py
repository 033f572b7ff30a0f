"""What the application is made of, before it is written in any SBOM format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from backend.workloads.packages.evidence.collected import Evidence
from backend.workloads.packages.evidence.graph import ROOT, LockGraph
from backend.workloads.packages.evidence.spdx_licences import spdx_expression
from backend.workloads.packages.evidence.stored_lock import Json
from backend.workloads.packages.lockfile.comparison import PREFIX
from backend.workloads.packages.lockfile.coordinates import (
    npm_purl,
    valid_name,
    valid_version,
)
from backend.workloads.packages.lockfile.sections import NODE_MODULES

APPLICATION: Final = "application"

# Excluded entries that are no things of their own: a link leads to a folder, and what is bundled
# is a part of the package that holds it.
_NO_PARTS: Final = frozenset({"link", "bundled"})


class Stamp(NamedTuple):
    """What every SBOM says of itself: a number that no other has, when, by which release.

    ``taken_at`` is RFC 3339 in UTC.
    """

    serial: UUID
    taken_at: str
    release: str


@dataclass(frozen=True, slots=True)
class LicenceWord:
    """What somebody calls the licence; ``spdx`` is None where SPDX has no expression for it."""

    text: str | None
    spdx: str | None


@lru_cache(maxsize=4096)
def licence_word(text: str | None) -> LicenceWord:
    return LicenceWord(text or None, spdx_expression(text) if text else None)


@dataclass(frozen=True, slots=True)
class Part:
    """One component.

    ``ref`` is its name within a document. ``sha512`` (hex) is of bytes that were seen. ``package``
    is None for what was not vetted by itself: ``excluded`` then says why, or it is bundled.
    """

    ref: str
    name: str
    version: str | None
    purl: str | None
    sha512: str | None
    concluded: LicenceWord
    declared: LicenceWord
    parts: tuple["Part", ...] = ()
    package: Json | None = None
    excluded: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """``asks`` has the refs of what a ref asks for, :data:`APPLICATION`'s among them.

    ``complete`` is whether everything in the lock has been looked into.
    """

    name: str
    version: str
    parts: tuple[Part, ...]
    asks: Mapping[str, tuple[str, ...]]
    complete: bool


def inventory(evidence: Evidence) -> Inventory:
    """Every package and every excluded entry of a request, and who asks for whom."""
    vetted = [_vetted(package) for package in evidence.packages]
    excluded = list(_excluded(evidence.exclusions, evidence.graph))
    refs = {
        entry: part.ref
        for part, package in zip(vetted, evidence.packages, strict=True)
        for line in package["asked"]
        for entry in line["entries"]
    }
    refs |= {entry: part.ref for entry, part in excluded}
    return Inventory(
        name=evidence.summary.application_name,
        version=evidence.summary.version,
        parts=(*vetted, *(part for _, part in excluded)),
        asks=_asks(evidence.graph, refs),
        complete=not excluded and all(package["inspected"] for package in evidence.packages),
    )


def _vetted(package: Json) -> Part:
    ref, bundled = f"package-{package['id']}", package["bundled"] or ()
    return Part(
        ref, package["name"], package["version"], package["purl"], package["sha512"],
        concluded=licence_word(package["concluded"]),
        declared=licence_word(package["declared"]),
        parts=tuple(_bundled(f"{ref}-bundled-{n}", it) for n, it in enumerate(bundled, 1)),
        package=package,
    )  # fmt: skip


def _bundled(ref: str, found: Json) -> Part:
    word = licence_word(found["licence"])
    name, version = found["name"], found["version"]
    is_npm = valid_name(name) and valid_version(version)  # a stranger's manifest may say anything
    return Part(ref, name, version, npm_purl(name, version) if is_npm else None, None, word, word)


def _excluded(exclusions: tuple[Json, ...], graph: LockGraph) -> Iterator[tuple[str, Part]]:
    nobody = LicenceWord(None, None)
    for number, exclusion in enumerate(exclusions, 1):
        entry, reason = exclusion["entry"], exclusion["reason"]
        if reason in _NO_PARTS:
            continue
        node = graph.nodes.get(entry)
        yield (
            entry,
            Part(
                f"excluded-{number}", node.name if node else entry, node.version if node else None,
                None, None, nobody, nobody, excluded=reason,
            ),
        )  # fmt: skip


def _asks(graph: LockGraph, refs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By ref; what a bundled entry asks for, its package does."""
    asks: dict[str, dict[str, None]] = {APPLICATION: {}, **{ref: {} for ref in refs.values()}}
    owners = {location: _owner(location, refs) for location in graph.edges}
    for location, edges in graph.edges.items():
        asking = owners[location]
        for edge in edges:
            if (asked := owners[edge.target]) != asking:
                asks[asking][asked] = None
    for entry, ref in refs.items():
        if entry.startswith(PREFIX):  # of the older section, whose own graph is not this one
            asks[APPLICATION].setdefault(ref)
    return {ref: tuple(asked) for ref, asked in asks.items()}


def _owner(location: str, refs: Mapping[str, str]) -> str:
    """The ref of an entry, or of what it lies in."""
    while location != ROOT:
        if location in refs:
            return refs[location]
        location = location.rpartition(NODE_MODULES)[0].removesuffix("/")
    return APPLICATION
