"""What is to be reached, as ratios of figures of one run, or as figures."""

from dataclasses import dataclass
from math import prod
from typing import Final

from tests.benchmark.store import Figures

Ref = tuple[str, str]
"""A cell and the name of one of its figures."""

RATE: Final = "rows_per_s"
TURN: Final = "drain.ours.100.1p"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The product of ``over`` divided by that of ``under`` is to be in the limits."""

    what: str
    over: tuple[Ref, ...]
    under: tuple[Ref, ...] = ()
    least: float | None = None
    most: float | None = None

    def asked_of(self, figures: Figures) -> bool:
        """Whether the run was to measure at least its first cell."""
        return bool(figures.of(self.over[0][0])) or self.over[0][0] in figures.not_run

    def value(self, figures: Figures) -> float | None:
        """None where one of the cells was not run."""
        over = [figures.value(*ref) for ref in self.over]
        under = [figures.value(*ref) for ref in self.under]
        if None in over or None in under or 0.0 in under:
            return None
        return prod(v for v in over if v is not None) / prod(v for v in under if v is not None)

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


def _drain(what: str, ours: str, other: str, least: float) -> Target:
    return Target(what=what, over=((ours, RATE),), under=((other, RATE),), least=least)


def _gain(batch: str) -> Target:
    """From one process to two, of the floor's own gain at the same batch."""
    words = batch.replace(".core", ", a processor each")
    return Target(
        what=f"drain, batch {words}, gain of a second process / the floor's own",
        over=((f"drain.ours.{batch}.2p", RATE), (f"drain.floor.{batch}.1p", RATE)),
        under=((f"drain.ours.{batch}.1p", RATE), (f"drain.floor.{batch}.2p", RATE)),
        least=0.95,
    )


def _deep(background: str) -> Target:
    who = f"deep.{background}.ours"
    return _drain(
        f"drain with a million {background.replace('_', ' ')} / without",
        who,
        "deep.empty.ours",
        0.9,
    )


def _lasting(cell: str, what: str, least: float) -> Target:
    return Target(what=f"{what}, last minute / first", over=((cell, "last_over_first"),),
                  least=least)  # fmt: skip


def _api(request: str) -> Target:
    return Target(what=f"API, {request} / a bare Flask view", over=(("api", f"{request}_ratio"),),
                  least=0.35)  # fmt: skip


TARGETS: Final = (
    _drain("drain, batch 100 / floor", TURN, "drain.floor.100.1p", 0.5),
    _drain("drain, batch 100 / PgQueuer", TURN, "drain.pgqueuer.1p", 1.2),
    _drain("drain, batch 100 / Celery", TURN, "drain.celery.1p", 10),
    _drain("drain, batch 100 / Procrastinate", TURN, "drain.procrastinate.1p", 25),
    _drain("drain, batch 500 / graphile-worker", "drain.ours.500.1p", "drain.graphile_worker.1p",
           1.0),
    _gain("100"),
    _gain("500"),
    _gain("100.core"),
    _gain("500.core"),
    _drain("drain, batch 1 / floor row by row, 8 threads", "drain.ours.1.1p", "drain.floor.1.8t",
           0.7),
    Target(what="pickup, p50 / floor", over=(("pickup.ours", "p50_ms"),),
           under=(("pickup.floor", "p50_ms"),), most=2.5),
    Target(what="pickup, p99 in ms", over=(("pickup.ours", "p99_ms"),), most=10),
    _deep("waiting"),
    _deep("finished"),
    _deep("backing_off"),
    _lasting("sustained.ours", "sustained", 0.9),
    _lasting("pinned.ours", "pinned, one timestamp", 0.7),
    _lasting("pinned_priorities.ours", "pinned, ten priorities", 0.7),
    _drain("enqueue, one a commit / floor", "enqueue_single.ours", "enqueue_single.floor", 0.7),
    _drain("enqueue, bulk / execute_values", "enqueue_bulk.ours", "enqueue_bulk.floor", 0.5),
    Target(what="idle worker, statements a second", over=(("idle.ours", "statements_per_s"),),
           most=2),
    Target(what="idle worker, % of a processor", over=(("idle.ours", "cpu_percent"),), most=1),
    Target(what="packages a second, warm", over=(("packages", "packages_per_s"),), least=150),
    Target(what="upload of 2,300 entries in s", over=(("upload", "new_both_s"),), most=0.5),
    _api("write"),
    _api("read_status"),
    _api("read_packages"),
    _api("read_package"),
)  # fmt: skip
