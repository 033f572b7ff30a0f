"""What a pattern says, as a tree, and the words for what cannot be read."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

Range: TypeAlias = tuple[str, str]

LAST: Final = "\U0010ffff"


class Unreadable(ValueError):
    """A pattern that is broken, or of a kind that is not read here; the message says which."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of ``ranges``, or none of them where ``negated``."""

    ranges: tuple[Range, ...]
    negated: bool = False
    folded: bool = False

    def hold(self, char: str) -> bool:
        """Whether it is one of them."""
        variants = {char, char.lower(), char.upper()} if self.folded else (char,)
        found = any(low <= one <= high for one in variants for low, high in self.ranges)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``most`` is None for any number."""

    part: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """Matches nothing, where ``part`` stands ahead of here, or ``behind``; or does not stand."""

    part: "Node"
    behind: bool
    negated: bool


Node: TypeAlias = Chars | Sequence | Choice | Repeat | Look

ANY: Final = Chars(((chr(0), LAST),))
NOTHING: Final = Sequence(())
START: Final = Look(ANY, behind=True, negated=True)
END: Final = Look(ANY, behind=False, negated=True)


@lru_cache(maxsize=512)
def one(char: str, *, folded: bool = False) -> Chars:
    return Chars(((char, char),), folded=folded)


def reversed_(node: Node) -> Node:
    """The same, read from the right to the left."""
    match node:
        case Chars():
            return node
        case Sequence(parts):
            return Sequence(tuple(map(reversed_, reversed(parts))))
        case Choice(options):
            return Choice(tuple(map(reversed_, options)))
        case Repeat(part, least, most):
            return Repeat(reversed_(part), least, most)
        case Look(part, behind, negated):
            return Look(reversed_(part), not behind, negated)


def literal(node: Node) -> str | None:
    """The one string that ``node`` matches; None where it may match others. Case is left aside."""
    match node:
        case Chars(((low, high),), False) if low == high:
            return low
        case Sequence(parts):
            found = [literal(part) for part in parts]
            return None if None in found else "".join(map(str, found))
        case _:
            return None
