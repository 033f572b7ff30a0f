"""A cell, and the order in which cells are measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmark.measures import Values
    from tests.benchmark.server import Server


@dataclass(frozen=True)
class Cell:
    """One figure, or a few that are taken together."""

    name: str
    measure: "Callable[[Server], Values]"
    seconds: float
    """About how long one round takes."""
    rounds: int = 1000
    """At most: what is long, or makes rounds of its own, is done once."""


def schedule(cells: Sequence[Cell], rounds: int) -> Iterator[tuple[int, Cell]]:
    """Round by round, all cells in each, so that a slow minute of the machine hits all alike."""
    for number in range(1, rounds + 1):
        yield from ((number, cell) for cell in cells if number <= cell.rounds)


def selected(cells: Sequence[Cell], only: str | None) -> list[Cell]:
    """Those whose names are, or begin with, one of the comma list's."""
    wanted = only.split(",") if only else [""]
    return [cell for cell in cells if any(_begins(cell.name, word) for word in wanted)]


def _begins(name: str, word: str) -> bool:
    """At a dot: ``drain.ours.1`` means no batch of 10 or 100."""
    return not word or name == word or name.startswith(f"{word}.")
