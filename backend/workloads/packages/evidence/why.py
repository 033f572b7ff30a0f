"""Why a package is there: the ways from the application to it, the shortest first.

There may be more ways than atoms: both the ways and the work are bounded, and the answer says
whether it holds all of them. No way visits an entry twice.
"""

import heapq
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from backend.workloads.packages.evidence.graph import ROOT, Edge, LockGraph

MAX_STEPS: Final = 200_000
"""Edges that are looked at for one answer; a fraction of a second."""


class Ways(NamedTuple):
    """Each way is its edges in order, the first one the application's own."""

    ways: tuple[tuple[Edge, ...], ...]
    complete: bool


class _Walk(NamedTuple):
    """A way so far, from its last edge backwards."""

    edge: Edge
    before: "_Walk | None"

    def visited(self) -> set[str]:
        return {edge.target for edge in self.edges()}

    def edges(self) -> tuple[Edge, ...]:
        found: list[Edge] = []
        walk: _Walk | None = self
        while walk is not None:
            found.append(walk.edge)
            walk = walk.before
        return tuple(reversed(found))


def ways_to(
    graph: LockGraph, targets: Collection[str], *, limit: int, max_steps: int = MAX_STEPS
) -> Ways:
    """Find at most ``limit`` ways to any of ``targets`` (locations), shortest first.

    The order is that of the lock among ways of one length. A way ends at the first target on it.
    """
    wanted = frozenset(targets)
    distance = _distances(graph, wanted)
    # What is left of the way is known to be no shorter than ``distance``: of all open ways the one
    # that may end soonest goes on, and of equals the longest, so that few are open at a time.
    open_ways: list[tuple[int, int, int, _Walk]] = []
    found: list[tuple[Edge, ...]] = []
    steps = 0

    def open_from(location: str, before: _Walk | None, length: int) -> None:
        nonlocal steps
        visited = before.visited() if before else set[str]()
        for edge in graph.edges.get(location, ()):
            steps += 1
            if edge.target in distance and edge.target not in visited:
                least = length + distance[edge.target]
                heapq.heappush(open_ways, (least, -length, steps, _Walk(edge, before)))

    open_from(ROOT, None, 1)
    while open_ways and steps <= max_steps:
        _, negative, _, walk = heapq.heappop(open_ways)
        if walk.edge.target not in wanted:
            open_from(walk.edge.target, walk, 1 - negative)
        elif len(found) == limit:
            return Ways(tuple(found), complete=False)
        else:
            found.append(walk.edges())
    return Ways(tuple(found), complete=not open_ways)


def _distances(graph: LockGraph, targets: Collection[str]) -> Mapping[str, int]:
    """How many edges it takes from each location to the nearest target; only where there is one."""
    asking: dict[str, list[str]] = {}
    for location, edges in graph.edges.items():
        for edge in edges:
            asking.setdefault(edge.target, []).append(location)
    distance = dict.fromkeys(targets, 0)
    todo = deque(distance)
    while todo:
        location = todo.popleft()
        for source in asking.get(location, ()):
            if source not in distance:
                distance[source] = distance[location] + 1
                todo.append(source)
    return distance
