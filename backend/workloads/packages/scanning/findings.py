"""What a source holds against a package, and how several sources' words become one."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from backend.workloads.packages.semver import sort_key

Kind = Literal["vulnerability", "malware", "secret", "licence", "undetermined", "heuristic"]
_ADVISORY_KINDS: tuple[Kind, ...] = ("undetermined", "vulnerability", "malware")  # weakest first


class Severity(StrEnum):
    """As advisories use it; ``unknown`` marks a finding nobody rated, which counts as high."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNKNOWN = "unknown"

    @property
    def counted(self) -> "Severity":
        """The severity that scores and policies reckon with."""
        return Severity.HIGH if self is Severity.UNKNOWN else self


_WORST_FIRST = tuple(Severity)
_ID_PREFERENCE = ("MAL-", "GHSA-", "CVE-")


class Frozen(BaseModel):
    """A value: immutable, hashable, and refusing fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Component(Frozen):
    """One npm package inside what is scanned: the artifact itself, or bundled in it.

    Attributes:
        path: of its manifest inside the artifact; None for the artifact itself.
    """

    name: str
    version: str
    path: str | None = None

    @property
    def purl(self) -> str:
        return npm_purl(self.name, self.version)


class Finding(Frozen):
    """One advisory, secret, licence matter or sign of malice about one component.

    Attributes:
        id: of several ids of one advisory, a MAL id is preferred, then GHSA, CVE, the rest by name.
        aliases: its other ids, sorted.
        title: one line, None where the source gives none.
        fixed: versions that repair it, lowest first; None where none is known.
        source: who says so; after a merge the names joined by ``,``.
        component: purl of the package itself or of the bundled one.
    """

    id: str
    aliases: tuple[str, ...] = ()
    severity: Severity = Severity.UNKNOWN
    title: str | None = None
    fixed: tuple[str, ...] | None = None
    source: str
    component: str
    kind: Kind = "vulnerability"

    @property
    def unrated(self) -> bool:
        """No source gave a severity; it counts as high and is shown with a mark."""
        return self.severity is Severity.UNKNOWN


def npm_purl(name: str, version: str) -> str:
    """The package URL of an npm package; the name's case is kept, as the registry does."""
    path = "/".join(quote(part, safe="") for part in name.split("/"))
    return f"pkg:npm/{path}@{quote(version, safe='')}"


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding per component and advisory, however many ids and sources name it.

    Ids and aliases are linked transitively. The worst severity wins and any rating beats none;
    malware beats vulnerability beats undetermined. The result does not depend on the order, is
    sorted worst first, and merging it again changes nothing.
    """
    groups: dict[str, list[Finding]] = {}
    find = _linked(findings := list(findings))
    for finding in findings:
        groups.setdefault(find(_keys(finding)[0]), []).append(finding)
    merged = [_one(group) for group in groups.values()]
    return tuple(
        sorted(merged, key=lambda f: (_rank(f.severity.counted), f.component, f.kind, f.id))
    )


def worst(severities: Iterable[Severity]) -> Severity:
    """The worst of several ratings of one thing; ``unknown`` only if nobody rated it."""
    rated = [severity for severity in severities if severity is not Severity.UNKNOWN]
    return min(rated, key=_rank, default=Severity.UNKNOWN)


def preferred(ids: Iterable[str]) -> tuple[str, ...]:
    """Ids without doubles, the one to show first."""

    def order(identifier: str) -> tuple[int, str]:
        ranks = (n for n, prefix in enumerate(_ID_PREFERENCE) if identifier.startswith(prefix))
        return next(ranks, len(_ID_PREFERENCE)), identifier

    return tuple(sorted(set(ids), key=order))


def _rank(severity: Severity) -> int:
    return _WORST_FIRST.index(severity)


def _keys(finding: Finding) -> list[str]:
    family = "advisory" if finding.kind in _ADVISORY_KINDS else finding.kind
    return [f"{finding.component} {family} {i}" for i in (finding.id, *finding.aliases)]


def _linked(findings: list[Finding]) -> Callable[[str], str]:
    """Union-find over ids; returns the function from an id to its group's representative."""
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for finding in findings:
        first, *others = _keys(finding)
        find(first)
        for key in others:
            parent[find(key)] = find(first)
    return find


def _one(group: list[Finding]) -> Finding:
    ids = preferred(i for f in group for i in (f.id, *f.aliases))
    kind = max((f.kind for f in group), key=_strength)
    titles = sorted({f.title for f in group if f.title}, key=lambda title: (len(title), title))
    return Finding(
        id=ids[0],
        aliases=tuple(sorted(ids[1:])),
        severity=worst(f.severity for f in group),
        title=titles[0] if titles else None,
        fixed=sorted_versions(v for f in group for v in f.fixed or ()) or None,
        source=",".join(sorted({name for f in group for name in f.source.split(",")})),
        component=group[0].component,
        kind=kind,
    )


def _strength(kind: Kind) -> int:
    return _ADVISORY_KINDS.index(kind) if kind in _ADVISORY_KINDS else 0


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Without doubles, lowest first; what is not a version comes last, by name."""
    return tuple(sorted(sorted(set(versions)), key=sort_key))
