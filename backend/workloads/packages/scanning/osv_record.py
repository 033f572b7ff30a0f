"""One advisory in the OSV format, reduced to what matching an npm version needs.

Format: the Open Source Vulnerability schema, 1.x.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from backend.workloads.packages.scanning import cvss
from backend.workloads.packages.scanning.findings import (
    Component,
    Finding,
    Kind,
    Severity,
    sorted_versions,
    worst,
)
from backend.workloads.packages.scanning.inspection import printable
from backend.workloads.packages.semver import Key, parse, sort_key

EventKind = Literal["introduced", "fixed", "last_affected", "limit"]
_EVENTS: tuple[EventKind, ...] = ("introduced", "fixed", "last_affected", "limit")
_BEFORE_ALL: Key = ()
_ECOSYSTEM = "npm"
_RANGE_TYPES = ("SEMVER", "ECOSYSTEM")
_WORDS = {
    "critical": Severity.CRITICAL, "high": Severity.HIGH, "important": Severity.HIGH,
    "moderate": Severity.MEDIUM, "medium": Severity.MEDIUM, "low": Severity.LOW,
}  # fmt: skip


class RecordError(Exception):
    """The record does not follow the format; the message names the field."""


class _Unreadable(Exception):
    """A range that cannot be decided."""


@dataclass(frozen=True, slots=True)
class Affected:
    """One ``affected`` block about one npm package.

    Attributes:
        ranges: each a tuple of (event, version); None for a range that cannot be read.
    """

    name: str
    ranges: tuple[tuple[tuple[EventKind, str], ...] | None, ...]
    versions: tuple[str, ...]
    severity: Severity


@dataclass(frozen=True, slots=True)
class Advisory:
    """One record. ``affected`` holds the npm blocks only and may be empty."""

    id: str
    aliases: tuple[str, ...]
    title: str | None
    severity: Severity
    modified: datetime | None
    withdrawn: bool
    affected: tuple[Affected, ...]

    @property
    def malware(self) -> bool:
        return any(name.startswith("MAL-") for name in (self.id, *self.aliases))


@dataclass(frozen=True, slots=True)
class Match:
    """``decided`` is False where the ranges left the question open."""

    decided: bool
    fixed: tuple[str, ...]
    severity: Severity


def read(document: Any) -> Advisory:
    """One decoded record.

    Raises:
        RecordError: a field that matters is missing or has the wrong type.
    """
    if not isinstance(document, dict):
        raise RecordError("the record is not an object")
    identifier = document.get("id")
    if not isinstance(identifier, str) or not identifier.strip():
        raise RecordError("id is missing")
    summary = document.get("summary")
    return Advisory(
        id=printable(identifier, limit=200),
        aliases=tuple(printable(alias, limit=200) for alias in _strings(document, "aliases")),
        title=printable(summary, limit=200) if isinstance(summary, str) and summary else None,
        severity=_severity(document),
        modified=_time(document.get("modified")),
        withdrawn=document.get("withdrawn") is not None,
        affected=tuple(_npm_blocks(document)),
    )


def finding(
    advisory: Advisory, component: Component, source: str, *, told_affected: bool = False
) -> Finding | None:
    """What one advisory means for one component; None when it does not concern it.

    Args:
        advisory: the record.
        component: the package version in question.
        source: who says so.
        told_affected: a service has matched the version already; its word stands even where our
            own reading of the record does not agree.
    """
    if advisory.withdrawn:
        return None
    found = _match(advisory, component)
    if found is None and not told_affected:
        return None
    found = found or Match(decided=True, fixed=(), severity=Severity.UNKNOWN)
    kind: Kind = "vulnerability" if found.decided or told_affected else "undetermined"
    severity = worst((advisory.severity, found.severity))
    if advisory.malware and kind == "vulnerability":
        kind, severity = "malware", Severity.CRITICAL
    return Finding(
        id=advisory.id,
        aliases=tuple(sorted(set(advisory.aliases) - {advisory.id})),
        severity=severity,
        title=advisory.title,
        fixed=found.fixed or None,
        source=source,
        component=component.purl,
        kind=kind,
    )


def repairs(advisory: Advisory, component: Component) -> bool:
    """Whether this very version is named as one that repairs what the advisory is about."""
    key = parse(component.version)
    return key is not None and any(
        kind == "fixed" and parse(version) == key
        for block in advisory.affected
        if block.name == component.name
        for events in block.ranges
        for kind, version in events or ()
    )


def _match(advisory: Advisory, component: Component) -> Match | None:
    """A certain hit in any block beats an open question in another."""
    matches = [
        found
        for block in advisory.affected
        if block.name == component.name and (found := _match_block(block, component.version))
    ]
    decided = [found for found in matches if found.decided] or matches
    if not decided:
        return None
    return Match(
        decided=decided[0].decided,
        fixed=sorted_versions(version for found in decided for version in found.fixed),
        severity=worst(found.severity for found in decided),
    )


def _match_block(block: Affected, version: str) -> Match | None:
    key = parse(version)
    listed = version in block.versions
    undecided = not (block.ranges or block.versions)
    hit = False
    fixed: list[str] = []
    for events in block.ranges:
        try:
            inside = key is not None and events is not None and _inside(key, events)
        except _Unreadable:
            inside, events = False, None  # noqa: PLW2901 - from here on it is an unreadable one
        undecided |= key is None or events is None
        hit |= inside
        if inside or listed:
            fixed += _later_fixes(key, events or ())
    if hit or listed:
        return Match(decided=True, fixed=tuple(fixed), severity=block.severity)
    return Match(decided=False, fixed=(), severity=block.severity) if undecided else None


def _inside(version: Key, events: Iterable[tuple[EventKind, str]]) -> bool:
    """The schema's evaluation: events in version order, the last one passed decides.

    Events at one version keep the record's order, so a re-introduction at the fixed version counts.
    """
    keyed = [(kind, _BEFORE_ALL if text == "0" else _key(kind, text)) for kind, text in events]
    limits = [key for kind, key in keyed if kind == "limit"]
    if limits and not any(key is None or version < key for key in limits):
        return False
    steps = [(kind, key) for kind, key in keyed if kind != "limit" and key is not None]
    vulnerable = False
    for kind, key in sorted(steps, key=lambda step: step[1]):
        if kind == "introduced" and version >= key:
            vulnerable = True
        elif (kind == "fixed" and version >= key) or (kind == "last_affected" and version > key):
            vulnerable = False
    return vulnerable


def _key(kind: EventKind, text: str) -> Key | None:
    if kind == "limit" and text == "*":
        return None
    key = parse(text)
    if key is None:
        raise _Unreadable
    return key


def _later_fixes(version: Key | None, events: Iterable[tuple[EventKind, str]]) -> list[str]:
    """The lowest fix above the version: one range may hold those of other release lines."""
    fixes = [text for kind, text in events if kind == "fixed"]
    above = [text for text in fixes if (key := parse(text)) and (version is None or key > version)]
    return sorted(above, key=sort_key)[:1]


def _npm_blocks(document: dict[str, Any]) -> Iterator[Affected]:
    for block in _objects(document, "affected"):
        package = block.get("package")
        if not isinstance(package, dict):
            continue
        ecosystem, name = package.get("ecosystem"), package.get("name")
        if not isinstance(ecosystem, str) or not isinstance(name, str):
            raise RecordError("affected.package has no name or ecosystem")
        if ecosystem.lower() == _ECOSYSTEM:
            # Commits say nothing about a registry's versions; a block of only those stays open.
            entries = [e for e in _objects(block, "ranges") if e.get("type") != "GIT"]
            ranges = tuple(_range(entry) for entry in entries)
            yield Affected(name, ranges, tuple(_strings(block, "versions")), _severity(block))


def _range(entry: dict[str, Any]) -> tuple[tuple[EventKind, str], ...] | None:
    events = entry.get("events")
    if entry.get("type") not in _RANGE_TYPES or not isinstance(events, list):
        return None
    read = [_event(event) for event in events]
    if any(event is None for event in read):
        return None
    known = tuple(event for event in read if event is not None)
    return known if any(kind == "introduced" for kind, _ in known) else None


def _event(event: Any) -> tuple[EventKind, str] | None:
    if not isinstance(event, dict) or len(event) != 1:
        return None
    for kind in _EVENTS:
        if isinstance(event.get(kind), str):
            return kind, event[kind]
    return None


def _severity(holder: dict[str, Any]) -> Severity:
    """The worst readable rating of a record or of one of its blocks."""
    ratings = [
        cvss.severity(entry["score"])
        for entry in _objects(holder, "severity")
        if isinstance(entry.get("score"), str)
    ]
    for place in ("database_specific", "ecosystem_specific"):
        details = holder.get(place)
        word = details.get("severity") if isinstance(details, dict) else None
        if isinstance(word, str):
            ratings.append(_WORDS.get(word.lower(), Severity.UNKNOWN))
    return worst(ratings)


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RecordError(f"{key} is not a list of objects")
    return value


def _strings(holder: dict[str, Any], key: str) -> list[str]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RecordError(f"{key} is not a list of texts")
    return value


def _time(value: Any) -> datetime | None:
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
