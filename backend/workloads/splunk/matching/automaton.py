"""An automaton for a pattern: time is linear in the text, whatever the pattern's author meant.

A stranger's pattern never meets an engine that goes back: each character is read once, against
all places of the pattern at which the reading may stand. Sets of places that were seen are kept, so
that what matches many texts gets faster. What looks around is an automaton of its own, which says
of each position whether it holds there; it reads the text once, from the side that it needs.
"""

from collections.abc import Sequence as Ordered
from typing import Final, TypeAlias

from backend.problems import Unsupported
from backend.workloads.splunk.matching.syntax import (
    ANY,
    Chars,
    Choice,
    Look,
    Node,
    Repeat,
    Sequence,
    Unreadable,
    reversed_,
)

MOST_PLACES: Final = 2000
"""Of one pattern, with what it counts written out."""

MOST_WORK: Final = 3_000_000
"""Units of about a microsecond that one question may take."""

KEPT: Final = 20_000
"""Places of one pattern, in the sets that are kept."""

_ACCEPTED = 0

Places: TypeAlias = frozenset[int]


class Work:
    """What is left of the time that one question may take, counted and not measured."""

    def __init__(self, units: int = MOST_WORK) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Raises Unsupported: nothing is left."""
        self._left -= units
        if self._left < 0:
            raise Unsupported(
                "This configuration's patterns take too long to match: ask about less at once.",
                code="too-complex",
            )


class Automaton:
    """Tells of whole texts whether they match.

    Raises:
        Unreadable: the pattern is larger than any automaton here may be.
    """

    def __init__(self, node: Node, work: Work) -> None:
        self._work = work
        self._chars: dict[int, tuple[Chars, int]] = {}
        self._splits: dict[int, list[int]] = {}
        self._looks: dict[int, tuple[int, int]] = {}
        self._around: list[tuple[Automaton, bool, bool]] = []
        self._count = 1
        self._start = self._built(node, _ACCEPTED)
        self._steps: dict[tuple[Places, str, Ordered[bool]], Places] = {}
        self._kept = 0
        work.spend(self._count)

    @property
    def size(self) -> int:
        """How many places it has."""
        return self._count

    def matches(self, text: str) -> bool:
        return self.prefixes(text, every=False)[-1]

    def prefixes(self, text: str, *, every: bool) -> list[bool]:
        """Whether the text up to each position matches; the last alone where not ``every``."""
        self._work.spend(2 + len(text) // (2 if every else 6))
        holds = self._holds(text)
        places = self._closed((self._start,), holds[0])
        found = [_ACCEPTED in places]
        for at, char in enumerate(text, start=1):
            places = self._step(places, char, holds[at])
            if every:
                found.append(_ACCEPTED in places)
            elif not places:
                return [False]
        return found if every else [_ACCEPTED in places]

    def _holds(self, text: str) -> Ordered[Ordered[bool]]:
        """For each position, which of the looks around hold there."""
        if not self._around:
            return ((),) * (len(text) + 1)
        self._work.spend(len(text) * (1 + len(self._around) // 4))
        columns = []
        for automaton, behind, negated in self._around:
            seen = automaton.prefixes(text if behind else text[::-1], every=True)
            columns.append([one is not negated for one in (seen if behind else seen[::-1])])
        return [*zip(*columns, strict=True)]

    def _step(self, places: Places, char: str, holds: Ordered[bool]) -> Places:
        key = places, char, holds
        known = self._steps.get(key)
        if known is None:
            found = [self._chars[place] for place in places if place in self._chars]
            ranges = sum(len(chars.ranges) for chars, _ in found)
            self._work.spend(2 + len(places) + ranges // 8)
            known = self._closed([after for chars, after in found if chars.hold(char)], holds)
            self._keep(key, known)
        return known

    def _keep(self, key: tuple[Places, str, Ordered[bool]], found: Places) -> None:
        self._kept += 1 + len(found)
        if self._kept > KEPT:
            self._steps.clear()
            self._kept = 1 + len(found)
        self._steps[key] = found

    def _closed(self, places: Ordered[int], holds: Ordered[bool]) -> Places:
        """``places`` and those that are reached from there without reading a character."""
        reached: set[int] = set()
        waiting = [*places]
        while waiting:
            place = waiting.pop()
            if place in reached:
                continue
            reached.add(place)
            waiting.extend(self._splits.get(place, ()))
            if place in self._looks and holds[self._looks[place][0]]:
                waiting.append(self._looks[place][1])
        self._work.spend(len(reached))
        return frozenset(one for one in reached if one in self._chars or one == _ACCEPTED)

    def _new(self) -> int:
        self._count += 1
        if self._count > MOST_PLACES:
            self._work.spend(self._count)
            raise Unreadable(f"is larger than {MOST_PLACES} places, its repeats written out")
        return self._count - 1

    def _built(self, node: Node, after: int) -> int:
        """The place at which ``node`` begins, where ``after`` is what follows it."""
        match node:
            case Chars():
                place = self._new()
                self._chars[place] = node, after
                return place
            case Sequence(parts):
                for part in reversed(parts):
                    after = self._built(part, after)
                return after
            case Choice(options):
                place = self._new()
                self._splits[place] = [self._built(option, after) for option in options]
                return place
            case Repeat():
                return self._repeated(node, after)
            case Look(part, behind, negated):
                return self._looking(part, behind, negated, after)

    def _repeated(self, node: Repeat, after: int) -> int:
        if node.most is None:
            loop = self._new()
            self._splits[loop] = [after]
            self._splits[loop].append(self._built(node.part, loop))
            after = loop
        else:
            for _ in range(node.most - node.least):
                place = self._new()
                self._splits[place] = [self._built(node.part, after), after]
                after = place
        for _ in range(node.least):
            before, after = after, self._built(node.part, after)
            if before == after:
                break  # it is empty: a thousand times nothing, a thousand times, takes no time
        return after

    def _looking(self, part: Node, behind: bool, negated: bool, after: int) -> int:
        inner = part if behind else reversed_(part)
        automaton = Automaton(Sequence((Repeat(ANY, 0, None), inner)), self._work)
        self._count += automaton.size
        place = self._new()
        self._looks[place] = len(self._around), after
        self._around.append((automaton, behind, negated))
        return place
