"""Every cell of the benchmark: its name, how it is measured, and how long that takes."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Final

from tests.benchmark import enqueueing, rivals, waking
from tests.benchmark.contestants import Contestant, Floor, Ours
from tests.benchmark.draining import drain, drain_confined
from tests.benchmark.measures import Values, percentiles
from tests.benchmark.plan import Cell
from tests.benchmark.server import Server
from tests.benchmark.sustaining import Load, sustain

BATCHES: Final = (1, 10, 100, 500)
DRAINED: Final = {1: 5000, 10: 30_000, 100: 100_000, 500: 200_000}
"""Rows of a drain by the batch: one to four seconds of the floor's."""
CONFINED: Final = (100, 500)
"""Batches at which each process has one processor, its share of the server included."""
DEEP: Final = 1_000_000
BACKGROUNDS: Final = ("waiting", "backing_off", "finished")
PRODUCT: Final = {"api": 180, "upload": 40, "packages": 60}
"""Modules of the product's own cells, with the seconds they take; they make their own rounds."""
ALL_PRIORITIES: Final = range(1, 11)
LONG: Final = 300.0  # seconds of sustained load
VARYING: Final = "sustained.ours"
"""Moves with when autovacuum has its rounds, which one load sees two to five of."""


def of_the_run(*, quick: bool, peers: Iterable[str]) -> list[Cell]:
    """In the order in which they are measured: neighbours are compared with each other."""
    chosen = [
        *_drains(quick=quick), *_deep(quick=quick),
        *(cell for peer in peers for cell in _of_a_peer(peer, quick=quick)),
        *_enqueueing(quick=quick), *_waking(quick=quick), *_product(quick=quick),
        *_sustained(quick=quick),
    ]  # fmt: skip
    return [cell for cell in chosen if not quick or cell.name not in NOT_QUICK]


# A quick run is to end within two minutes; on a slow machine it takes longer.
NOT_QUICK: Final = frozenset({
    "drain.floor.10.1p", "drain.floor.10.2p", "drain.ours.10.1p", "drain.ours.10.2p",
    *(f"drain.{who}.{batch}.core.{processes}p"
      for who in ("floor", "ours") for batch in CONFINED for processes in (1, 2)),
    "drain.floor.1.2p", "drain.ours.1.2p", "drain.ours.100.1p.keys", "api", "packages",
    "pinned_priorities.ours", "sustained.floor", "pinned.floor", "deep.backing_off.floor",
    "deep.empty.floor", "deep.waiting.floor",
    "deep.backing_off.ours", "deep.finished.floor", "deep.finished.ours",
})  # fmt: skip


def _drains(*, quick: bool) -> Iterator[Cell]:
    for batch in BATCHES:
        rows = DRAINED[batch] // (5 if quick else 1)
        for processes in (1, 2):
            for who, contestant in _both(batch, processes):
                yield _drain(f"drain.{who}.{batch}.{processes}p", contestant, rows)
    for batch in CONFINED:
        for processes in (1, 2):
            for who, contestant in _both(batch, processes):
                measure = partial(
                    drain_confined, who=contestant, rows=DRAINED[batch], processors=processes
                )
                yield Cell(f"drain.{who}.{batch}.core.{processes}p", measure, 5)
    rows = DRAINED[1] // (5 if quick else 1)
    yield _drain("drain.floor.1.8t", Floor(batch=1, threads=8), rows)
    many_keys = partial(drain, who=Ours(batch=100), rows=DRAINED[100], keys=20)
    yield Cell("drain.ours.100.1p.keys", many_keys, 9)


def _both(batch: int, processes: int = 1) -> tuple[tuple[str, Contestant], ...]:
    return (
        ("floor", Floor(batch=batch, processes=processes)),
        ("ours", Ours(batch=batch, processes=processes)),
    )


def _drain(name: str, who: Contestant, rows: int) -> Cell:
    return Cell(name, partial(drain, who=who, rows=rows), 2.5 if rows <= DRAINED[1] else 5)


def _deep(*, quick: bool) -> Iterator[Cell]:
    rows, behind = (20_000, DEEP // 10) if quick else (DRAINED[100], DEEP)
    for who, contestant in _both(100):
        yield _drain(f"deep.empty.{who}", contestant, rows)
    for background in BACKGROUNDS:
        for who, contestant in _both(100):
            measure = partial(
                drain, who=contestant, rows=rows, background=background, behind=behind
            )
            yield Cell(f"deep.{background}.{who}", measure, 3 if quick else 20, rounds=2)


def _sustained(*, quick: bool) -> Iterator[Cell]:
    seconds = 10.0 if quick else LONG
    floor, ours = Floor(batch=100, stay=True), Ours(batch=100)
    plain = Load(seconds=seconds)
    pinned = Load(seconds=seconds, pinned=True, one_time=True)
    priorities = Load(seconds=seconds, pinned=True, priorities=ALL_PRIORITIES)
    for name, who, load in (
        ("sustained.floor", floor, plain), ("sustained.ours", ours, plain),
        ("pinned.floor", floor, pinned), ("pinned.ours", ours, pinned),
        ("pinned_priorities.ours", ours, priorities),
    ):  # fmt: skip
        measure = partial(sustain, who=who, load=load)
        rounds = 3 if name == VARYING else 1
        yield Cell(name, measure, seconds + (4 if quick else 30), rounds=rounds)


def _enqueueing(*, quick: bool) -> Iterator[Cell]:
    single, bulk = (400, 10_000) if quick else (2000, 50_000)
    yield Cell("enqueue_single.floor", partial(enqueueing.floor_single, rows=single), 3)
    yield Cell("enqueue_single.ours", partial(enqueueing.ours_single, rows=single), 4)
    yield Cell("enqueue_bulk.floor", partial(enqueueing.floor_bulk, rows=bulk), 3)
    yield Cell("enqueue_bulk.ours", partial(enqueueing.ours_bulk, rows=bulk), 3)


def _waking(*, quick: bool) -> Iterator[Cell]:
    times, seconds = (30, 10.0) if quick else (200, 30.0)
    took = times * 0.08 + 3
    for who, measure in (("floor", waking.floor_pickup), ("ours", waking.ours_pickup)):
        yield Cell(f"pickup.{who}", _spread(partial(measure, times=times)), took, rounds=1)
    yield Cell("idle.ours", partial(waking.idle, seconds=seconds), seconds + 7, rounds=2)


def _spread(measure: Callable[[Server], list[float]]) -> Callable[[Server], Values]:
    def measured(server: Server) -> Values:
        return percentiles(measure(server))

    return measured


def _of_a_peer(peer: str, *, quick: bool) -> Iterator[Cell]:
    for processes in (1, 2):
        measure = partial(rivals.drain, peer=peer, processes=processes, quick=quick)
        yield Cell(f"drain.{peer}.{processes}p", measure, 6, rounds=2)
    for how in ("single", "bulk"):
        put = partial(rivals.enqueue, peer=peer, how=how, quick=quick)
        yield Cell(f"enqueue_{how}.{peer}", put, 4, rounds=1)
    waited = _spread(partial(rivals.pickup, peer=peer, times=20 if quick else 50, quick=quick))
    yield Cell(f"pickup.{peer}", waited, 7, rounds=1)


def _product(*, quick: bool) -> Iterator[Cell]:
    for name, seconds in PRODUCT.items():
        yield Cell(name, partial(_measured, name=name, quick=quick), 5 if quick else seconds,
                   rounds=1)  # fmt: skip


def _measured(server: Server, name: str, *, quick: bool) -> Values:
    module = import_module(f"tests.benchmark.{name}")
    with server.empty() as database:
        found: Values = module.measure(database.url, quick=quick)
        return found
