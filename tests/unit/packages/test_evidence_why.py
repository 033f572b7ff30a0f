"""Who asks for whom in a lock, and on which ways a package comes in."""

import json
import time
from typing import Any

import pytest

from backend.workloads.packages.evidence.graph import ROOT, LockGraph, main_graph, older_graph
from backend.workloads.packages.evidence.stored_lock import read_stored
from backend.workloads.packages.evidence.why import ways_to


def graph_of(packages: dict[str, Any], *, root: dict[str, Any]) -> LockGraph:
    document = {"lockfileVersion": 3, "packages": {"": root, **packages}}
    return main_graph(read_stored(json.dumps(document).encode()))


def entry(*asked: str, **fields: Any) -> dict[str, Any]:
    return {"version": "1.0.0", "dependencies": dict.fromkeys(asked, "^1.0.0"), **fields}


def ways(graph: LockGraph, *targets: str, limit: int = 10) -> list[str]:
    found = ways_to(graph, targets, limit=limit)
    assert found.complete
    return [" > ".join(edge.target.replace("node_modules/", "") for edge in w) for w in found.ways]


def test_every_way_is_found_the_shortest_first() -> None:
    graph = graph_of(
        {
            "node_modules/a": entry("c"),
            "node_modules/b": entry("a", "c"),
            "node_modules/c": entry(),
        },
        root={"dependencies": {"a": "1", "b": "1"}},
    )

    assert ways(graph, "node_modules/c") == ["a > c", "b > c", "b > a > c"]


def test_a_nested_copy_is_what_its_neighbours_get_and_nobody_else() -> None:
    graph = graph_of(
        {
            "node_modules/a": entry("c"),
            "node_modules/a/node_modules/b": entry("c"),
            "node_modules/a/node_modules/c": entry(),
            "node_modules/c": entry(),
        },
        root={"dependencies": {"a": "1", "c": "2"}},
    )

    assert ways(graph, "node_modules/c") == ["c"]
    assert ways(graph, "node_modules/a/node_modules/c") == ["a > a/c"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("dependencies", "prod"),
        ("devDependencies", "dev"),
        ("optionalDependencies", "optional"),
        ("peerDependencies", "peer"),
    ],
)
def test_an_edge_says_how_it_is_asked_for_and_with_which_range(key: str, kind: str) -> None:
    graph = graph_of({"node_modules/a": entry()}, root={key: {"a": "~1.2"}})

    (edge,) = graph.edges[ROOT]
    assert edge == ("node_modules/a", kind, "~1.2")


def test_development_packages_of_packages_are_nobodys() -> None:
    graph = graph_of(
        {"node_modules/a": entry(devDependencies={"b": "1"}), "node_modules/b": entry()},
        root={"dependencies": {"a": "1"}},
    )

    assert ways(graph, "node_modules/b") == []


def test_a_way_leads_through_a_workspace_and_not_through_its_link() -> None:
    graph = graph_of(
        {
            "packages/charts": {"version": "0.1.0", "devDependencies": {"axis": "1"}},
            "node_modules/charts": {"resolved": "packages/charts", "link": True},
            "packages/charts/node_modules/axis": entry(),
        },
        root={"workspaces": ["packages/*"]},
    )

    (way,) = ways_to(graph, ["packages/charts/node_modules/axis"], limit=9).ways
    assert [(edge.target, edge.kind) for edge in way] == [
        ("packages/charts", "workspace"),
        ("packages/charts/node_modules/axis", "dev"),
    ]


def test_a_link_to_what_the_lock_has_not_leads_nowhere() -> None:
    graph = graph_of(
        {
            "node_modules/gone": {"resolved": "../gone", "link": True},
            "node_modules/a": entry("gone"),
        },
        root={"dependencies": {"gone": "*", "a": "1"}},
    )

    assert [edge.target for edge in graph.edges[ROOT]] == ["node_modules/a"]
    assert graph.edges["node_modules/a"] == ()


def test_a_ring_ends_nobodys_way() -> None:
    graph = graph_of(
        {
            "node_modules/a": entry("b"),
            "node_modules/b": entry("a", "c"),
            "node_modules/c": entry(),
        },
        root={"dependencies": {"a": "1"}},
    )

    assert ways(graph, "node_modules/c") == ["a > b > c"]


@pytest.mark.parametrize(
    "odd", [None, [], "a", {"dependencies": ["a"]}, {"dependencies": {"a": 7}}]
)
def test_an_entry_of_an_odd_form_asks_for_nothing_or_says_no_range(odd: Any) -> None:
    graph = graph_of({"node_modules/a": entry(), "node_modules/odd": odd}, root={})

    assert all(edge.spec == "" for edge in graph.edges["node_modules/odd"])


def test_a_lock_before_version_2_is_read_by_what_its_entries_require() -> None:
    document = {
        "lockfileVersion": 1,
        "requires": True,
        "dependencies": {
            "a": {"version": "1.0.0", "requires": {"b": "^2"}, "dependencies": {
                "b": {"version": "2.0.0"}}},
            "b": {"version": "1.0.0", "requires": {"ring": "1"}},
            "ring": {"version": "1.0.0", "requires": {"b": "1"}},
        },
    }  # fmt: skip
    graph = main_graph(read_stored(json.dumps(document).encode()))

    assert ways(graph, "node_modules/a/node_modules/b") == ["a > a/b"]
    assert ways(graph, "node_modules/ring") == ["b > ring"]  # somebody asks for b, but who?


def test_a_lock_that_says_not_even_that_is_read_by_where_its_entries_lie() -> None:
    document = {
        "name": "old",
        "dependencies": {
            "a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}},
            "b": {"version": "1.0.0"},
        },
    }
    graph = older_graph(read_stored(json.dumps(document).encode()))

    assert ways(graph, "node_modules/a/node_modules/b") == ["a > a/b"]
    assert ways(graph, "node_modules/b") == ["b"]


def test_more_ways_than_anybody_could_read_are_cut_and_that_is_said() -> None:
    packages: dict[str, Any] = {}
    for level in range(40):  # 2 to the 40 ways
        for side in "ab":
            packages[f"node_modules/{side}{level}"] = entry(f"a{level + 1}", f"b{level + 1}")
    packages["node_modules/a40"] = packages["node_modules/b40"] = entry("end")
    packages["node_modules/end"] = entry()
    graph = graph_of(packages, root={"dependencies": {"a0": "1", "b0": "1"}})

    started = time.process_time()
    found = ways_to(graph, ["node_modules/end"], limit=100)

    assert len(set(found.ways)) == 100
    assert not found.complete
    assert time.process_time() - started < 2


def test_work_without_end_is_cut_and_that_is_said() -> None:
    names = [f"n{number}" for number in range(60)]
    packages = {f"node_modules/{name}": entry(*names) for name in names}
    packages["node_modules/n59"] = entry("end")
    packages["node_modules/end"] = entry()
    graph = graph_of(packages, root={"dependencies": {"n0": "1"}})

    found = ways_to(graph, ["node_modules/end"], limit=1000, max_steps=5_000)

    assert found.ways
    assert not found.complete
