"""The benchmark: ``./scripts/bench``.

Exit codes: 0 everything that was asked for has been measured, or why not is said; 1 it cannot be
run on this machine at all; 2 wrong arguments.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from backend.embedded import EmbeddedError
from tests.benchmark import document, environments, machine, profiling
from tests.benchmark.cells import DRAINED, of_the_run
from tests.benchmark.contestants import Ours
from tests.benchmark.draining import drain
from tests.benchmark.plan import Cell, schedule, selected
from tests.benchmark.server import Server
from tests.benchmark.store import Result, Store, StoreError
from tests.benchmark.table import render
from tests.benchmark.targets import TARGETS

ROUNDS: Final = 3
QUICK: Final = (
    "a quick run is rough: one round, 100,000 rows in place of a million, 10 s in place of 5 min"
)


def measured(cell: Cell, number: int, server: Server) -> Result:
    """One cell, once; whatever goes wrong is what there is to say of it."""
    try:
        return Result(cell.name, number, cell.measure(server))
    except Exception as error:  # noqa: BLE001 - a cell that fails must not cost the others
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return Result(cell.name, number, {}, not_run=why[:300])


def run(cells: Sequence[Cell], rounds: int, store: Store, server: Server) -> None:
    missing = [(n, cell) for n, cell in schedule(cells, rounds) if not store.has(cell.name, n)]
    left = sum(cell.seconds for _, cell in missing)
    say(f"{len(missing)} measurements, about {left / 60:.0f} min; results in {store.path}")
    for number, cell in missing:
        began = time.monotonic()
        result = measured(cell, number, server)
        store.add(result)
        figure = next(iter(result.values.items()), ("not run", result.not_run))
        took = time.monotonic() - began
        say(f"round {number}  {cell.name:28} {figure[0]} {_short(figure[1])}  ({took:.0f} s)")


def _short(value: float | str | None) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


def report(store: Store) -> dict[str, Any]:
    """Everything as one object: facts, medians by cell, targets, what was not run."""
    figures = store.figures()
    targets = {target.what: target.value(figures) for target in TARGETS}
    return {
        "facts": store.facts,
        "cells": {cell: figures.of(cell) for cell in figures},
        "targets": targets,
        "not_run": figures.not_run,
    }


def profile(server: Server) -> None:
    """The worker at batch 100, and where its processor time went."""
    with tempfile.TemporaryDirectory(prefix="lockkeeper-profile-") as folder:
        written = Path(folder) / "profile"
        drain(server, Ours(batch=100, profile=written), DRAINED[100])
        profiling.top(written)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure, and compare.")
    parser.add_argument("--quick", action="store_true", help="fewer cells and rows, one round")
    parser.add_argument("--only", help="cells, or what their names begin with: a,b")
    parser.add_argument("--peers", help="only these peers: a,b; none for none")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--resume", type=Path, help="go on with a file of results")
    parser.add_argument("--json", action="store_true", help="print one object in place of tables")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/")
    parser.add_argument("--list", action="store_true", help="name the cells, and measure nothing")
    parser.add_argument("--profile", action="store_true", help="profile the worker, batch 100")
    asked = parser.parse_args(given)
    if asked.rounds is not None and asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    asked.rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    known = environments.known()
    asked.peers = _peers(asked, known)
    if strange := set(asked.peers) - set(known):
        parser.error(f"no such peer: {', '.join(sorted(strange))}; known: {', '.join(known)}")
    asked.cells = selected(of_the_run(quick=asked.quick, peers=asked.peers), asked.only)
    if not asked.cells:
        parser.error(f"no cell is called {asked.only}; see --list")
    return asked


def _peers(asked: argparse.Namespace, known: list[str]) -> list[str]:
    """A quick run installs nothing, and has no time for peers that nobody named."""
    if asked.peers is None:
        return [] if asked.quick else known
    return [] if asked.peers == "none" else asked.peers.split(",")


def _store(asked: argparse.Namespace, postgresql: str) -> Store:
    """The file to resume, or a new one in the cache.

    Raises:
        StoreError: it cannot be resumed, or holds results of the other kind of run.
    """
    kind = "quick" if asked.quick else "full"
    if asked.resume:
        store = Store.resume(asked.resume)
        if store.facts.get("run") != kind:
            raise StoreError(f"{asked.resume} holds the results of a {store.facts.get('run')} run")
        return store
    path = environments.cache() / f"results-{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    return Store.begin(path, {"run": kind, **machine.facts(postgresql, asked.peers)})


def _measure(asked: argparse.Namespace) -> None:
    with Server() as server:
        if asked.profile:
            profile(server)
            return
        store = _store(asked, server.version)
        run(asked.cells, asked.rounds, store, server)
    said = json.dumps(report(store), indent=2) if asked.json else render(store.figures())
    sys.stdout.write(f"{said}\n")
    if asked.quick:
        say(QUICK)
    if asked.docs:
        document.write(store.facts, store.figures())


def main() -> int:
    asked = arguments()
    if asked.list:
        sys.stdout.write("".join(f"{cell.name}\n" for cell in asked.cells))
        return 0
    if sys.platform != "linux":
        say("it reads /proc: Linux only")
        return 1
    signal.signal(signal.SIGTERM, lambda *_received: sys.exit(143))  # leave nothing behind
    try:
        _measure(asked)
    except (StoreError, EmbeddedError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("broken off; --resume goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
