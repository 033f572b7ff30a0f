"""Which faults come when: everything follows from the seed, nothing from the run."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.points import MOMENTS

WEIGHTS: Final[Mapping[str, int]] = {
    "kill": 12,
    "kill-at-point": 18,
    "zombie": 10,
    "freeze-at-point": 10,
    "drain": 5,
    "drain-twice": 3,
    "drain-group": 3,
    "crew": 4,
    "skew": 3,
    "server-crash": 3,
    "server-restart": 3,
    "crash-in-recovery": 2,
    "outage": 3,
    "server-freeze": 3,
    "freeze-all": 2,
    "terminate-backend": 6,
    "cut": 4,
    "cut-after": 14,
    "cut-before": 4,
    "blackhole": 3,
    "hold": 4,
    "deafen": 2,
}
"""How often each kind comes in every hundred or so; ``inject`` says what each one does."""

KILL_AT: Final = (
    *(
        f"{statement}:{moment}"
        for statement in ("progress", "commit", "settle", "heartbeat", "reap")
        for moment in MOMENTS
    ),
    "turn:before",
    "turn:after",
    "save:before",
    "save:after",
    "reaper_lock:after",
    "release:before",
    "release:after",
)

FREEZE_AT: Final = (
    "turn:before", "turn:after", "commit:after", "save:after",
    "commit:before-COMMIT", "commit:after-COMMIT", "settle:after", "settle:before-COMMIT",
    "heartbeat:after", "reap:after", "reap:before-COMMIT",
)  # fmt: skip

CUT_AT: Final = ("turn", "progress", "commit", "save", "settle", "heartbeat", "reap")

OFTEN: Final = ("turn", "progress", "commit", "settle", "heartbeat")
"""Points at these are passed many times a second by a worker that has rows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``at`` and ``seconds`` are seconds; what a kind does not need it ignores.

    ``victim`` picks among those at hand: the worker at ``victim`` modulo their number.
    """

    at: float
    kind: str
    victim: int
    seconds: float
    point: str
    nth: int
    at_commit: bool
    crew: int
    hours: int


def schedule(seed: int, seconds: float, *, every: float = 2.0, ttl: float = 2.0) -> list[Fault]:
    """The faults of a run of ``seconds``, one every ``every`` seconds on average.

    ``ttl`` is the lease time in seconds: freezes, outages and silences outlast it.
    """
    chance = random.Random(seed)
    kinds = _kinds(chance)
    faults, at = [], 1.0 + chance.uniform(0, every)
    while at < seconds:
        faults.append(_fault(chance, at, next(kinds), ttl))
        at += chance.uniform(0.4, 1.6) * every
    return faults


def _kinds(chance: random.Random) -> Iterator[str]:
    """Each kind as often as it weighs, in an order of chance: none stays away for long."""
    while True:
        bag = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
        chance.shuffle(bag)
        yield from bag


def _fault(chance: random.Random, at: float, kind: str, ttl: float) -> Fault:
    """Every value is drawn for every fault, so that one kind's needs shift no other's."""
    kill_at, freeze_at, cut_at = (chance.choice(p) for p in (KILL_AT, FREEZE_AT, CUT_AT))
    point = {"kill-at-point": kill_at, "freeze-at-point": freeze_at}.get(kind, cut_at)
    passages = chance.randint(1, 12)
    return Fault(
        at=round(at, 3),
        kind=kind,
        victim=chance.randrange(1_000),
        seconds=round(ttl * chance.uniform(1.2, 2.2), 3),
        point=point,
        nth=passages if point.partition(":")[0] in OFTEN else 1,
        at_commit=chance.random() < 0.7,
        crew=chance.randint(2, 5),
        hours=chance.choice((-5, -1, 1, 7)),
    )
