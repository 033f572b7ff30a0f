"""Where a lock has both sections, old and new npm clients read different ones: compare them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from backend.workloads.packages.lockfile.model import LockDifference
from backend.workloads.packages.lockfile.verdicts import Verdict, Wanted

PREFIX = "dependencies:"

# One folder of the project, as each section words it.
_LOCAL = frozenset({"link", "file", "workspace"})


def compare(
    packages: Mapping[str, Verdict], dependencies: Iterable[Verdict]
) -> tuple[list[Verdict], list[LockDifference]]:
    """Hold the ``dependencies`` tree against the verdicts of ``packages`` (by location).

    Returns:
        What the tree asks for beyond ``packages``, each entry renamed with ``PREFIX``, so that it
        is vetted or excluded on its own; and all differences.
    """
    extra: list[Verdict] = []
    differences: list[LockDifference] = []
    unseen = dict.fromkeys(packages)
    for other in dependencies:
        entry = other.entry
        unseen.pop(entry, None)
        difference = _difference(packages.get(entry), other)
        if difference is not None:
            differences.append(difference)
            if difference.kind != "unpinned-in-dependencies":
                extra.append(replace(other, entry=f"{PREFIX}{entry}"))
    differences.extend(
        LockDifference(entry, "only-in-packages", f"Only `packages` has {_named(packages[entry])}.")
        for entry in unseen
        if not _is_own_folder(packages[entry])
    )
    return extra, differences


def _difference(ours: Verdict | None, other: Verdict) -> LockDifference | None:
    if ours is None:
        return LockDifference(
            other.entry, "only-in-dependencies", f"Only `dependencies` has {_named(other)}."
        )
    if _identity(ours) == _identity(other):
        return None
    if (
        isinstance(ours, Wanted)
        and isinstance(other, Wanted)
        and ours.coordinates == other.coordinates
        and other.integrity.canonical is None
    ):
        detail = f"`dependencies` names no integrity for {_named(ours)}."
        return LockDifference(other.entry, "unpinned-in-dependencies", detail)
    detail = f"`packages` has {_named(ours)}, `dependencies` has {_named(other)}."
    return LockDifference(other.entry, "conflicting-sections", detail)


def _identity(verdict: Verdict) -> object:
    if isinstance(verdict, Wanted):
        return verdict.coordinates, verdict.integrity
    return "local" if verdict.reason in _LOCAL else verdict.reason


def _is_own_folder(verdict: Verdict) -> bool:
    """The old tree has no entry for the target of a link."""
    return not isinstance(verdict, Wanted) and verdict.reason in {"workspace", "file"}


def _named(verdict: Verdict) -> str:
    if isinstance(verdict, Wanted):
        name, version = verdict.coordinates
        return f"{name}@{version} ({verdict.integrity.canonical or 'no integrity'})"
    return f"an entry excluded as {verdict.reason}"
