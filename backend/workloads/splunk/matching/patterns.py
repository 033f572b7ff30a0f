"""Patterns of stanza names and client filters: compiled once, matched against whole names."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from backend.workloads.splunk.matching.automaton import Automaton, Work
from backend.workloads.splunk.matching.expressions import LONGEST, Dialect, parse
from backend.workloads.splunk.matching.syntax import (
    ANY,
    Chars,
    Node,
    Repeat,
    Sequence,
    Unreadable,
    literal,
)

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

_READ = re.compile(r"[dwstnrfea]|[DWS]|[^0-9A-Za-z]")
_WILDCARDS: Final = {False: re.compile(r"\*"), True: re.compile(r"\*|\.\.\.")}
_PLAIN_OR_WILD: Final = {
    False: re.compile(rf"(?:[^{_SPECIAL}]|\\\.|\*)*"),
    True: re.compile(rf"(?:[^{_SPECIAL}]|\*)*"),
}


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
                # That is the name of a class or of a control character, or a code: \x2e. Of what
                # is not read here, such as \101, nobody can say how long it is.
                end = end[3:] if end[0] == "x" else end[1:] if _READ.match(end) else ""
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


class ClientPattern:
    """One entry of a list of deployment clients, compared with names in any case.

    A name, or one with a ``*``, is searched for its parts; others are read as a :class:`Pattern`
    when the first name is compared with them.

    Attributes:
        name: the one name, in lower case, that it matches; None for what may match others, and for
            a name with other escapes than that of a period.
        edges: how each name begins and ends that it matches.
        part: what each of these names holds between them.
    """

    __slots__ = "_parts", "_read", "_refused", "_text", "_work", "edges", "name", "part"

    def __init__(self, text: str, work: Work) -> None:
        self._text = text
        self._work = work
        self._parts = _parts(text, CLIENT)
        self._read: Pattern | None = None
        self._refused: str | None = None
        self.name: str | None = None
        self.part = ""
        match self._parts:
            case None:
                self.edges = Edges.of(text, CLIENT)
            case (name,):
                self.name = name
                self.edges = Edges(name, "", folded=True)
            case (start, *middle, end):
                self.edges = Edges(start, end, folded=True)
                self.part = max(middle, key=len, default="")

    def matches(self, name: str) -> bool:
        """Raises Unreadable and Unsupported: see :class:`Pattern`."""
        if self._parts is not None:
            self._work.spend(1 + len(self._parts) // 4)
            return _holds(name.lower(), self._parts)
        if self._refused is not None:
            raise Unreadable(self._refused)
        try:
            if self._read is None:
                self._read = Pattern(self._text, CLIENT, self._work)
            return self._read.matches(name)
        except Unreadable as error:
            self._refused = str(error)
            raise


def may_match(text: str, dialect: Dialect, name: str) -> bool:
    """False where it shows at once that the pattern cannot match ``name``."""
    parts = _parts(text, dialect)
    if parts is None:
        return Edges.of(text, dialect).fit(name)
    return _holds(name.lower() if dialect.folded else name, parts)


def _parts(text: str, dialect: Dialect) -> tuple[str, ...] | None:
    """What stands before the first wildcard, between any two, and after the last one.

    None where there are other special characters than wildcards and, where a period has no part in
    one, escaped periods. For dialects in which ``*`` is a wildcard.
    """
    if len(text) > LONGEST or not _PLAIN_OR_WILD[dialect.dots].fullmatch(text):
        return None
    folded = text.lower() if dialect.folded else text
    first, *others = _WILDCARDS[dialect.dots].split(folded.replace("\\.", "."))
    if not others:
        return (first,)
    return first, *filter(None, others[:-1]), others[-1]


def _holds(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a name is these parts, with anything between them; time is linear in its length."""
    if len(parts) == 1:
        return name == parts[0]
    start, *middle, end = parts
    if not (name.startswith(start) and name.endswith(end)):
        return False
    at, last = len(start), len(name) - len(end)
    for part in middle:
        found = name.find(part, at, last)
        if found < 0:
            return False
        at = found + len(part)
    return at <= last
