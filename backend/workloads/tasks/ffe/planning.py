"""The deterministic planner: a goal's own parts, within the phases of its kind of work.

It knows rules and words, not the matter. The same goal always gives the same plan.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from backend.workloads.tasks.ffe.clauses import strong
from backend.workloads.tasks.ffe.phases import (
    AFTER,
    BEFORE,
    NAMED_ONLY,
    NAMING,
    WEIGHTS,
    Phase,
    phases,
)
from backend.workloads.tasks.ffe.plan import LONGEST, MOST, SHORTEST, Block
from backend.workloads.tasks.ffe.reading import Part, Reading, read

ROOM: Final = {"low": 3, "medium": 5, "high": 7}
"""Blocks of a goal that names no parts of its own."""
USUAL: Final = {"low": 25, "medium": 45, "high": 75}
"""Minutes of a usual block."""
_STEP: Final = 5  # minutes that figures are rounded to
_MOST_TOLD: Final = 100  # characters of a title before it names the goal's thing
_MORE: Final = 10  # minutes for each further part that shares a block
_MOST_PARTS: Final = MOST - 2  # one block before them, one after


def plan(title: str, description: str, complexity: str) -> list[Block]:
    """Blocks for a goal.

    Args:
        complexity: low, medium or high: how many blocks there are, and how long.

    Raises:
        ValueError: the goal's words name nothing that work could be about.
    """
    goal = read(title, description)
    if goal is None:
        raise ValueError("its title and description name nothing that could be worked on")
    shares = _shares(goal.parts)
    room = max(ROOM[complexity], min(MOST, len(shares) + 2)) if shares else ROOM[complexity]
    chosen = phases(goal.kind, room)
    if shares:
        edges = [phase for phase in chosen if phase.rank in BEFORE | AFTER]
        chosen = [p for p in edges if p.rank <= 3 or len(edges) + len(shares) <= room]  # noqa: PLR2004 - the two that no plan lacks
    return _Builder(goal, USUAL[complexity]).build(chosen, shares)


def _shares(parts: Sequence[Part]) -> list[tuple[Part, ...]]:
    """The parts, a block's share each: neighbours together where there are too many."""
    if len(parts) < 2:  # noqa: PLR2004 - one part is what the whole is about
        return []
    blocks = min(len(parts), _MOST_PARTS)
    cuts = [n * len(parts) // blocks for n in range(blocks + 1)]
    return [tuple(parts[a:b]) for a, b in pairwise(cuts)]


class _Builder:
    """Puts blocks one after the other."""

    def __init__(self, goal: Reading, usual: int) -> None:
        self._goal = goal
        self._usual = usual
        self._blocks: list[Block] = []

    def build(self, chosen: Sequence[Phase], shares: Sequence[tuple[Part, ...]]) -> list[Block]:
        work = [phase for phase in chosen if phase.rank not in BEFORE | AFTER]
        for phase in chosen:
            if phase.rank in BEFORE:
                self._add_phase(phase, self._last())
        first = len(self._blocks)
        for phase in work:
            self._add_phase(phase, self._last())
        for share in shares:
            self._add_share(share, first)
        for phase in chosen:
            if phase.rank in AFTER:
                self._add_phase(phase, self._loose_ends())
        return self._blocks

    def _last(self) -> tuple[int, ...]:
        return (len(self._blocks),) if self._blocks else ()

    def _loose_ends(self) -> tuple[int, ...]:
        """The blocks that nothing depends on yet."""
        needed = {number for block in self._blocks for number in block.depends_on}
        return tuple(n for n in range(1, len(self._blocks) + 1) if n not in needed)

    def _add_phase(self, phase: Phase, depends_on: tuple[int, ...]) -> None:
        description = f"Done when: {phase.done} The goal's aim: {self._goal.aim}"
        if phase.rank in AFTER and self._goal.conditions:
            description += f" It says: {'; '.join(self._goal.conditions)}."
        title = phase.title.format(self._goal.thing)
        minutes = _rounded(self._usual * WEIGHTS[phase.rank])
        self._add(title, description, minutes, depends_on)

    def _add(self, title: str, description: str, minutes: int, waits: tuple[int, ...]) -> None:
        number = len(self._blocks) + 1
        if title.casefold() in {block.title.casefold() for block in self._blocks}:
            title = f"{title}, block {number}"
        self._blocks.append(Block(title, description, minutes, waits))

    def _add_share(self, share: tuple[Part, ...], first: int) -> None:
        """A part waits for the one that it follows, or shares a word with; else for ``first``."""
        first_part, *rest = (self._named(part) for part in share)
        title = "; ".join((first_part, *map(_lower, rest)))
        if len(title) > _MOST_TOLD:
            title = (
                f"{first_part[:_MOST_TOLD]}, and {len(rest)} more" if rest else title[:_MOST_TOLD]
            )
        if not strong(self._goal.thing) <= strong(title):
            title = f"{title} for {self._goal.thing}"
        said = [part.minutes for part in share if part.minutes is not None]
        minutes = sum(said) if said else self._usual * 1.1 + _MORE * (len(share) - 1)
        told = "; ".join(part.clause.text for part in share)
        description = f"The goal says: {told}. Done when that is so. Its aim: {self._goal.aim}"
        self._add(_upper(title), description, _rounded(minutes), self._waits_for(share, first))

    def _waits_for(self, share: tuple[Part, ...], first: int) -> tuple[int, ...]:
        mine = len(self._blocks)
        if share[0].follows and mine > first:
            return (mine,)
        words = strong(" ".join(part.clause.text for part in share)) - strong(self._goal.thing)
        related = [n for n in range(first + 1, mine + 1) if words & self._words_of(n)]
        return (related[-1],) if related else ((first,) if first else ())

    def _words_of(self, number: int) -> frozenset[str]:
        return strong(self._blocks[number - 1].title) - strong(self._goal.thing)

    def _named(self, part: Part) -> str:
        clause = part.clause
        if clause.verb and clause.told:
            return clause.text
        return NAMING.get(self._goal.kind, NAMED_ONLY).format(clause.text)


def _rounded(minutes: float) -> int:
    return max(SHORTEST, min(LONGEST, _STEP * round(minutes / _STEP)))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
