"""The answer to "why is this package here", from the lock as it was stored."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from backend.problems import NotFound
from backend.workloads.packages.evidence.graph import LockGraph, main_graph, older_graph
from backend.workloads.packages.evidence.schemas import Hop, PackageName, WhyOut, WhyPath
from backend.workloads.packages.evidence.stored_lock import PREFIX, StoredLock, read_stored
from backend.workloads.packages.evidence.why import Ways, ways_to
from backend.workloads.packages.service import no_request


def explained(asked: WhyPath, found: Sequence[Any], *, limit: int) -> WhyOut:
    """Shape what ``reading.WHY`` answered.

    Raises:
        NotFound: there is no such request, it is somebody else's, or it has no such package.
    """
    if found[0] is None:
        raise no_request(asked.id)
    lock, application, version, package_text = found
    if package_text is None:
        raise NotFound(f"Request {asked.id} has no package {asked.package_id}.")
    package = json.loads(package_text)
    entries = package.pop("entries")
    ways, complete = _ways(read_stored(bytes(lock)), entries, limit)
    return WhyOut(
        request_id=asked.id,
        application=f"{application} {version}",
        package=PackageName(id=asked.package_id, **package),
        entries=entries,
        ways=ways,
        complete=complete,
        message=_message(package["purl"], len(ways), complete=complete),
    )


def _ways(lock: StoredLock, entries: list[str], limit: int) -> tuple[list[list[Hop]], bool]:
    """Of the main section and, for entries that it contradicts, of the older one."""
    own = [entry for entry in entries if not entry.startswith(PREFIX)]
    others = [entry.removeprefix(PREFIX) for entry in entries if entry.startswith(PREFIX)]
    found: list[tuple[LockGraph, Ways]] = []
    for make, targets in ((main_graph, own), (older_graph, others)):
        if targets:
            graph = make(lock)
            found.append((graph, ways_to(graph, targets, limit=limit)))
    hops = list(chain.from_iterable(_hops(graph, ways) for graph, ways in found))
    complete = len(hops) <= limit and all(ways.complete for _, ways in found)
    return sorted(hops, key=len)[:limit], complete


def _hops(graph: LockGraph, ways: Ways) -> list[list[Hop]]:
    return [
        [
            Hop(
                name=node.name, version=node.version, entry=node.location, kind=edge.kind,
                spec=edge.spec, bundled=node.bundled,
            )
            for edge in way
            for node in (graph.nodes[edge.target],)
        ]
        for way in ways.ways
    ]  # fmt: skip


def _message(purl: str, ways: int, *, complete: bool) -> str:
    if not complete:
        return f"{purl} is asked for in more ways than these {ways}."
    if ways == 0:
        return f"The lock names {purl}, and nothing in the lock asks for it."
    return f"{purl} is asked for in {ways} way{'s' if ways > 1 else ''}."
