"""What a plan is, and the rules that every plan keeps, whoever made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.ffe.clauses import strong
from backend.workloads.tasks.ffe.fragments import bare
from backend.workloads.tasks.ffe.lexicon import VERBS
from backend.workloads.tasks.ffe.reading import read

FEWEST: Final = 3
MOST: Final = 7
SHORTEST: Final = 15
LONGEST: Final = 90
"""Minutes of one block."""
MOST_TITLE: Final = 200
MOST_DESCRIPTION: Final = 2000


@dataclass(frozen=True, slots=True)
class Block:
    """One sitting's work. ``depends_on`` are numbers of blocks before it, counted from 1."""

    title: str
    description: str
    minutes: int
    depends_on: tuple[int, ...] = ()


def own_words(title: str, description: str) -> frozenset[str]:
    """The stems by which a block can be told to be about a goal: of its things, not its verbs."""
    text = f"{title}\n{description}"
    verbs = strong(" ".join(word for word in text.split() if bare(word) in VERBS))
    goal = read(title, description)
    return strong(text) - verbs | (strong(goal.thing) if goal else frozenset())


def fault(blocks: Sequence[Block], words: frozenset[str]) -> str | None:
    """The first rule that a plan for a goal of these own words breaks, in one line."""
    if not FEWEST <= len(blocks) <= MOST:
        return f"a plan has {FEWEST} to {MOST} blocks, this one has {len(blocks)}"
    titles = [block.title.casefold() for block in blocks]
    for number, block in enumerate(blocks, 1):
        if wrong := _fault_in_words(block, words) or _fault_in_work(number, block):
            return f"block {number}: {wrong}"
        if titles.index(block.title.casefold()) != number - 1:
            return f"block {number}: it has the title of an earlier one"
    return _fault_together(blocks)


def _fault_in_words(block: Block, words: frozenset[str]) -> str | None:
    if not block.title.strip() or len(block.title) > MOST_TITLE:
        return f"its title has 1 to {MOST_TITLE} characters"
    if len(block.description) > MOST_DESCRIPTION:
        return f"its description is longer than {MOST_DESCRIPTION} characters"
    if not (block.title + block.description).isprintable():
        return "it holds characters that do not print"
    if not strong(block.title) & words:
        return "its title names nothing of the goal's own"
    return None


def _fault_in_work(number: int, block: Block) -> str | None:
    if not SHORTEST <= block.minutes <= LONGEST:
        return f"it takes {SHORTEST} to {LONGEST} minutes, not {block.minutes}"
    if any(not 1 <= other < number for other in block.depends_on):
        return "it may depend on earlier blocks alone"
    return None


def _fault_together(blocks: Sequence[Block]) -> str | None:
    """No block stands alone: each needs another one, or is needed."""
    needed = {number for block in blocks for number in block.depends_on}
    for number, block in enumerate(blocks, 1):
        if not block.depends_on and number not in needed:
            return f"block {number}: nothing depends on it and it depends on nothing"
    return None
