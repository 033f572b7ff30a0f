"""Entries that name the same bytes become one package."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from backend.workloads.packages.lockfile.coordinates import Coordinates, npm_purl
from backend.workloads.packages.lockfile.model import (
    Component,
    Exclusion,
    LockDifference,
    WantedPackage,
)
from backend.workloads.packages.lockfile.sections import NODE_MODULES, RawEntry
from backend.workloads.packages.lockfile.urls import redact_text
from backend.workloads.packages.lockfile.verdicts import Verdict, Wanted

if TYPE_CHECKING:
    from backend.workloads.packages.lockfile.integrity import Integrity

Scopes = frozenset[str]


def group(wanted: Iterable[Wanted], internal_scopes: Scopes) -> tuple[WantedPackage, ...]:
    """One package per (name, version, integrity), in the order of their first entries."""
    groups: dict[tuple[Coordinates, Integrity], list[Wanted]] = {}
    for entry in wanted:
        groups.setdefault((entry.coordinates, entry.integrity), []).append(entry)
    return tuple(_package(entries, internal_scopes) for entries in groups.values())


def conflicting_integrity(packages: Iterable[WantedPackage]) -> list[LockDifference]:
    """One note per name@version that the lock gives different hashes, at its second hash."""
    seen: dict[tuple[str, str], list[WantedPackage]] = {}
    for package in packages:
        seen.setdefault((package.name, package.version), []).append(package)
    return [
        LockDifference(
            same[1].entries[0],
            "conflicting-integrity",
            f"{same[0].name}@{same[0].version} is named with {len(same)} different integrities, "
            f"such as {' and '.join(package.integrity or 'none' for package in same[:2])}.",
        )
        for same in seen.values()
        if len(same) > 1
    ]


def components(raws: Iterable[RawEntry], verdicts: Mapping[str, Verdict]) -> dict[str, Component]:
    """Each bundled entry by location, with the nearest ancestor that has bytes of its own."""
    return {
        raw.location: Component(
            raw.location,
            name=redact_text(raw.fields.get("name") or raw.folder or ""),
            version=redact_text(raw.fields.get("version") or "") or None,
            parent=_parent(raw.location, verdicts),
        )
        for raw in raws
        if isinstance(verdict := verdicts[raw.location], Exclusion) and verdict.reason == "bundled"
    }


def _parent(location: str, verdicts: Mapping[str, Verdict]) -> str | None:
    while True:
        location = location[: location.rindex(NODE_MODULES)].removesuffix("/")
        verdict = verdicts.get(location)
        if isinstance(verdict, Wanted):
            return npm_purl(*verdict.coordinates)
        if verdict is None or NODE_MODULES not in location:
            return None


def _package(entries: list[Wanted], internal_scopes: Scopes) -> WantedPackage:
    first = entries[0]
    name, version = first.coordinates
    return WantedPackage(
        name=name,
        version=version,
        purl=npm_purl(name, version),
        integrity=first.integrity.canonical,
        integrity_strength=first.integrity.strength,
        entries=tuple(entry.entry for entry in entries),
        dev=all(entry.dev for entry in entries),
        optional=all(entry.optional for entry in entries),
        aliases=tuple(sorted({entry.alias for entry in entries if entry.alias})),
        platform_limited=any(entry.platform_limited for entry in entries),
        license_claim=next((e.license_claim for e in entries if e.license_claim), None),
        resolved_foreign=any(entry.foreign for entry in entries),
        internal=name.partition("/")[0].lower() in internal_scopes,
    )
