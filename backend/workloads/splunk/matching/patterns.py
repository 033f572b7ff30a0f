"""Patterns of stanza names and client filters: compiled once, matched against whole names."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from backend.workloads.splunk.matching.automaton import Automaton, Work
from backend.workloads.splunk.matching.expressions import LONGEST, Dialect, parse
from backend.workloads.splunk.matching.syntax import ANY, Chars, Node, Repeat, Sequence, literal

UNIX_NAMES: Final = Chars((("/", "/"),), negated=True)
WINDOWS_NAMES: Final = Chars((("\\", "\\"),), negated=True)

SOURCE: Final = Dialect(star=UNIX_NAMES, dots=True)
WINDOWS_SOURCE: Final = Dialect(star=WINDOWS_NAMES, dots=True)
HOST: Final = Dialect(star=UNIX_NAMES, dots=True, folded=True)
CLIENT: Final = Dialect(star=ANY, folded=True)

READING: Final = 60
READING_ONE: Final = 4
"""Units of work for a pattern, and for each of its characters."""

_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")


def _edges(special: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds the plain characters before the first special one, and after the last."""
    return re.compile(rf"\A[^{special}]+"), re.compile(rf"(?<![^{special}])[^{special}]+\Z")


_SPECIAL = r"\\*|()\[\]{}?+^$"
_PLAIN: Final = {False: _edges(_SPECIAL), True: _edges(_SPECIAL + ".")}
"""By whether ``...`` is a wildcard; a period alone is plain where ``*`` is one."""


def source_dialect(source: str) -> Dialect:
    """A ``*`` stops at the path separator, which is a backslash in a path of Windows."""
    return WINDOWS_SOURCE if _WINDOWS_PATH.match(source) else SOURCE


@dataclass(frozen=True, slots=True)
class Edges:
    """How every name begins and ends that a pattern matches, as far as that shows at once.

    Telling that costs a few microseconds, and leaves few of a thousand patterns to be compiled. For
    dialects in which ``*`` is a wildcard.
    """

    start: str
    end: str
    folded: bool

    @classmethod
    def of(cls, text: str, dialect: Dialect) -> "Edges":
        start = end = ""
        if "|" not in text and "(?" not in text:
            start, end = (_found(edge, text) for edge in _PLAIN[dialect.dots])
            if text[len(start) : len(start) + 1] in {"?", "{"}:
                start = start[:-1]  # that repeats it, perhaps no time
            if text[-len(end) - 1 : -len(end)] == "\\":
                # That is the name of a class or of a control character, or a code: \x2e.
                end = end[3:] if end[0] == "x" else end[1:]
        if dialect.folded:
            return cls(start.lower(), end.lower(), folded=True)
        return cls(start, end, folded=False)

    def fit(self, name: str) -> bool:
        """False where the pattern cannot match ``name``."""
        if self.folded:
            name = name.lower()
        return name.startswith(self.start) and name.endswith(self.end)


def _found(expression: re.Pattern[str], text: str) -> str:
    found = expression.search(text)
    return found[0] if found else ""


class Pattern:
    """One pattern of one dialect.

    Attributes:
        literal: the one name that it matches, case aside where the dialect folds it; None for a
            pattern proper.

    Raises:
        Unreadable: see :func:`backend.workloads.splunk.matching.expressions.parse`.
        Unsupported: what one question may take is spent.
    """

    def __init__(self, text: str, dialect: Dialect, work: Work, *, anywhere: bool = False) -> None:
        """``anywhere``: what it matches may stand anywhere in a text."""
        work.spend(READING + READING_ONE * min(len(text), LONGEST))
        self._work = work
        self._node: Node = parse(text, dialect)
        self.literal = literal(self._node)
        if anywhere:
            rest = Repeat(ANY, 0, None)
            self._node = Sequence((rest, self._node, rest))

    def matches(self, name: str) -> bool:
        """Raises Unsupported and Unreadable, too: what it needs is made when it is first asked."""
        return self._automaton.matches(name)

    @cached_property
    def _automaton(self) -> Automaton:
        return Automaton(self._node, self._work)
