"""npm's package-lock.json and npm-shrinkwrap.json, versions 0 to 3, as one list of wanted packages.

Pure: nothing is fetched or resolved. The rules come from npm's documentation of its lock file and
from real locks; where a lock could mean two things, both are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.problems import Malformed
from backend.strictjson import shown
from backend.workloads.packages.lockfile import grouping
from backend.workloads.packages.lockfile.comparison import compare
from backend.workloads.packages.lockfile.document import Document, application, read_document
from backend.workloads.packages.lockfile.model import (
    Component,
    Exclusion,
    LockDifference,
    ParsedLock,
)
from backend.workloads.packages.lockfile.redaction import redacted
from backend.workloads.packages.lockfile.sections import (
    RawEntry,
    check_count,
    from_dependencies,
    from_packages,
)
from backend.workloads.packages.lockfile.verdicts import Origins, Verdict, Wanted, judge

MAX_ENTRIES = 50_000


def parse_lock(
    data: bytes,
    *,
    filename: str | None,
    origins: frozenset[str],
    internal_scopes: tuple[str, ...] = (),
    max_bytes: int,
    max_entries: int = MAX_ENTRIES,
) -> ParsedLock:
    """Read an npm lock file; every entry but the root's ends in a package or in an exclusion.

    Args:
        filename: as the caller names it; for messages alone.
        origins: hosts, lower case and with a port that is not the scheme's default, of the
            configured registry and of the ecosystem's own.
        internal_scopes: scopes (with or without ``@``) whose packages are marked ``internal``.
        max_bytes: largest file in bytes.
        max_entries: most entries, both sections of a version 2 lock counted by themselves.

    Raises:
        TooLarge: over one of the limits (``too-large``, ``too-many-entries``).
        Malformed: ``malformed-json``, ``not-a-lock-file`` or ``malformed-lock``.
        Unsupported: ``unsupported-lock-version``.
    """
    document = read_document(data, filename=filename, max_bytes=max_bytes)
    allowed = Origins(origins, _workspaces(document))
    raws, verdicts, differences = _verdicts(document, allowed, max_entries)
    wanted = [verdict for verdict in verdicts if isinstance(verdict, Wanted)]
    scopes = frozenset("@" + scope.removeprefix("@").lower() for scope in internal_scopes)
    packages = grouping.group(wanted, scopes)
    bundled = grouping.components(raws, {verdict.entry: verdict for verdict in verdicts})
    lock = ParsedLock(
        application_name=application(document, "name"),
        application_version=application(document, "version"),
        format=document.format,
        entries=len(verdicts),
        packages=packages,
        exclusions=tuple(_explained(v, bundled) for v in verdicts if isinstance(v, Exclusion)),
        components=tuple(bundled.values()),
        differences=(
            *differences,
            *_elsewhere(wanted),
            *grouping.conflicting_integrity(packages),
        ),
        redacted=redacted(data),
    )
    _check_balance(lock, max_entries)
    return lock


def _verdicts(
    document: Document, origins: Origins, max_entries: int
) -> tuple[list[RawEntry], list[Verdict], list[LockDifference]]:
    """All entries, raw and judged; where both sections exist, ``packages`` is what counts."""
    root = document.root
    if document.packages is None:
        raws = from_dependencies(root, links={}, max_entries=max_entries)
        return raws, [judge(raw, origins) for raw in raws], []
    raws = from_packages(document.packages, max_entries=max_entries)
    verdicts = [judge(raw, origins) for raw in raws]
    if "dependencies" not in root:
        return raws, verdicts, []
    others = from_dependencies(root, links=_links(raws), max_entries=max_entries)
    by_location = {verdict.entry: verdict for verdict in verdicts}
    extra, differences = compare(by_location, [judge(raw, origins) for raw in others])
    return raws, [*verdicts, *extra], differences


def _links(raws: Sequence[RawEntry]) -> dict[str, str]:
    return {
        raw.location: raw.fields["resolved"]
        for raw in raws
        if isinstance(raw.fields, dict)
        and raw.fields.get("link") is True
        and isinstance(raw.fields.get("resolved"), str)
    }


def _workspaces(document: Document) -> frozenset[str]:
    """The root's workspace patterns, as npm or yarn write them."""
    root = (document.packages or {}).get("")
    patterns: Any = root.get("workspaces") if isinstance(root, dict) else None
    if isinstance(patterns, dict):
        patterns = patterns.get("packages")
    if not isinstance(patterns, list):
        return frozenset()
    return frozenset(p.removeprefix("./").rstrip("/") for p in patterns if isinstance(p, str))


def _explained(exclusion: Exclusion, bundled: Mapping[str, Component]) -> Exclusion:
    """A bundled entry's exclusion names the parent that will be vetted in its place."""
    component = bundled.get(exclusion.entry)
    if component is None:
        return exclusion
    parent = component.parent or "the project itself"
    return replace(exclusion, detail=f"Its bytes are inside {parent}.")


def _elsewhere(wanted: Sequence[Wanted]) -> list[LockDifference]:
    return [
        LockDifference(
            entry.entry,
            "resolved-elsewhere",
            f"{entry.coordinates.name}@{entry.coordinates.version} was resolved at "
            f"{shown(entry.elsewhere)}; its coordinates and integrity decide.",
        )
        for entry in wanted
        if entry.elsewhere
    ]


def _check_balance(lock: ParsedLock, max_entries: int) -> None:
    """Nothing was dropped, and no name stands for two entries."""
    names = [entry for package in lock.packages for entry in package.entries]
    names += [exclusion.entry for exclusion in lock.exclusions]
    assert len(names) == lock.entries, "an entry was lost"
    if len(set(names)) != len(names):
        raise Malformed("Two entries of the lock file have the same name.", code="malformed-lock")
    check_count(lock.entries, max_entries)
