"""Who asks for whom in a lock, as node resolves it: the nearest ``node_modules`` upwards.

The rules are those of node's module resolution and of npm's documentation of its lock file. A lock
before version 2 does not say what the application itself asks for: every entry at its top that no
other one asks for counts as asked for by it. Where it does not even say who requires whom
(before npm 5), an entry is asked for by the one it lies in.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from backend.workloads.packages.evidence.stored_lock import Json, StoredLock, link_targets
from backend.workloads.packages.lockfile.sections import NODE_MODULES, RawEntry

ROOT = ""
"""The application's own location."""

EdgeKind = Literal["prod", "dev", "optional", "peer", "workspace", "unsaid"]

# The first that names a package counts.
_ASKING: tuple[tuple[str, EdgeKind], ...] = (
    ("optionalDependencies", "optional"),
    ("dependencies", "prod"),
    ("devDependencies", "dev"),
    ("peerDependencies", "peer"),
)


class Node(NamedTuple):
    """One entry. ``version`` None where the lock names none."""

    location: str
    name: str
    version: str | None
    bundled: bool


class Edge(NamedTuple):
    """``spec`` is the range that is asked for, "" where the lock does not say."""

    target: str
    kind: EdgeKind
    spec: str


class LockGraph(NamedTuple):
    """``edges`` has every location, and :data:`ROOT`; of links none is left."""

    nodes: Mapping[str, Node]
    edges: Mapping[str, tuple[Edge, ...]]


def main_graph(lock: StoredLock) -> LockGraph:
    """Of the section that counts."""
    if lock.packages is None:
        return older_graph(lock)
    return _of_packages(lock.packages, lock.document["packages"].get(ROOT))


def older_graph(lock: StoredLock) -> LockGraph:
    """Of the ``dependencies`` tree."""
    return _of_tree(lock.dependencies or [])


class _Resolver:
    """Finds what a name means at a location; links count as the folders they lead to."""

    def __init__(self, raws: Iterable[RawEntry], links: Mapping[str, str]) -> None:
        """``links`` are those to entries that there are."""
        self._below: dict[str, dict[str, str]] = {}
        self._bases: dict[str, list[str]] = {}
        for raw in raws:
            if raw.folder is not None:
                base = raw.location.removesuffix(f"{NODE_MODULES}{raw.folder}").removesuffix("/")
                target = links.get(raw.location, raw.location)
                self._below.setdefault(base, {})[raw.folder] = target

    def find(self, location: str, name: str) -> str | None:
        if location not in self._bases:
            self._bases[location] = [base for base in _upwards(location) if base in self._below]
        for base in self._bases[location]:
            if (found := self._below[base].get(name)) is not None:
                return found
        return None


def _upwards(location: str) -> Iterator[str]:
    """The location and every folder above it, the project's own last."""
    while location:
        yield location
        location = location.rpartition("/")[0]
    yield ROOT


def _of_packages(raws: list[RawEntry], root: Any) -> LockGraph:
    links = link_targets({raw.location: raw.fields for raw in raws})
    known = {raw.location: raw for raw in raws if raw.location not in links}
    links = {location: target for location, target in links.items() if target in known}
    there = known.keys() | links.keys()
    resolver = _Resolver((raw for raw in raws if raw.location in there), links)
    edges = {
        location: tuple(_asked(location, raw.folder is None, raw.fields, resolver))
        for location, raw in known.items()
    }
    own = {edge.target: edge for edge in _asked(ROOT, True, root, resolver)}
    if isinstance(root, dict) and root.get("workspaces"):
        for target in links.values():
            if known[target].folder is None:
                own.setdefault(target, Edge(target, "workspace", ""))
    edges[ROOT] = tuple(own.values())
    return LockGraph({location: _node(raw) for location, raw in known.items()}, edges)


def _asked(location: str, is_own: bool, fields: Any, resolver: _Resolver) -> Iterator[Edge]:
    """What one entry asks for and gets; ``is_own``: its development packages are installed."""
    seen: set[str] = set()
    for key, kind in _ASKING:
        if kind == "dev" and not is_own:
            continue
        for name, spec in _pairs(fields, key):
            target = None if name in seen else resolver.find(location, name)
            seen.add(name)
            if target is not None:
                yield Edge(target, kind, spec)


def _of_tree(raws: list[RawEntry]) -> LockGraph:
    resolver = _Resolver(raws, {})
    says_who = any(isinstance(raw.fields, dict) and "requires" in raw.fields for raw in raws)
    edges: dict[str, tuple[Edge, ...]] = {}
    for raw in raws:
        edges[raw.location] = tuple(
            Edge(target, "prod", spec)
            for name, spec in _pairs(raw.fields, "requires" if says_who else "dependencies")
            if (target := resolver.find(raw.location, name)) is not None
        )
    top = [raw for raw in raws if raw.location.count(NODE_MODULES) == 1]
    edges[ROOT] = tuple(_unasked(top, edges))
    return LockGraph({raw.location: _node(raw) for raw in raws}, edges)


def _unasked(top: list[RawEntry], edges: Mapping[str, tuple[Edge, ...]]) -> Iterator[Edge]:
    """An edge to each top entry that nobody asks for, and into each ring of those that are left."""
    asked = {
        edge.target
        for location, asking in edges.items()
        for edge in asking
        if edge.target != location
    }
    reached: set[str] = set()
    for raw in sorted(top, key=lambda raw: raw.location in asked):
        if raw.location not in reached:
            reached |= _reachable(raw.location, edges)
            yield Edge(raw.location, "dev" if _is_dev(raw) else "unsaid", "")


def _reachable(start: str, edges: Mapping[str, tuple[Edge, ...]]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for edge in edges.get(todo.pop(), ()):
            if edge.target not in seen:
                seen.add(edge.target)
                todo.append(edge.target)
    return seen


def _node(raw: RawEntry) -> Node:
    fields: Json = raw.fields if isinstance(raw.fields, dict) else {}
    name, version = fields.get("name"), fields.get("version")
    bundled = fields.get("inBundle") is True or fields.get("bundled") is True
    return Node(
        raw.location,
        name if isinstance(name, str) and name else raw.folder or raw.location,
        version if isinstance(version, str) and version else None,
        bundled,
    )


def _pairs(fields: Any, key: str) -> Iterator[tuple[str, str]]:
    asked = fields.get(key) if isinstance(fields, dict) else None
    if isinstance(asked, dict):
        for name, spec in asked.items():
            yield name, spec if isinstance(spec, str) else ""


def _is_dev(raw: RawEntry) -> bool:
    return isinstance(raw.fields, dict) and raw.fields.get("dev") is True
