"""Reads what a manifest calls its licence into an expression tree, or says why that cannot be done.

The grammar is SPDX's (SPDX 2.3, annex D): ``AND`` binds tighter than ``OR``, ``WITH`` and ``+`` are
part of a single licence. license-expression knows the identifiers; its parser is not used, because
it takes ``GPL`` for ``GPL-1.0-or-later``, ``LicenseRef-MIT-TC`` for ``MIT`` and ``MIT+`` for a
stranger, and meets ``()`` with an IndexError and ``A AND (OR B)`` with an assertion.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from backend.workloads.packages.licences.spdx import canonical_licence, or_later, spdx_index
from backend.workloads.packages.licences.spellings import (
    AMBIGUOUS,
    CERTAIN,
    FOR_A_PERSON,
    REFERENCES,
)

MAX_CHARACTERS = 1_000
MAX_DEPTH = 64  # of parentheses

_PRINTABLE = re.compile(r"[ -~\t\r\n]*")
_TOKEN = re.compile(r"[()]|[^\s()]+")
_WORD = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9.-]+\+?")
_STRUCTURE = frozenset({"(", ")", "AND", "OR", "and", "or"})


Operator = Literal["AND", "OR"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not an expression; ``reason`` is one sentence for the person who has to look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Licence:
    """One member of an expression.

    ``text`` is its normalised name. A policy that does not list ``text`` judges the ``readings``
    instead, and the strictest of them counts: the base licence of ``X+`` and of ``X WITH E``, or
    everything that an ambiguous word such as ``GPL`` may mean.
    """

    text: str
    readings: tuple["Licence", ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """``AND`` or ``OR`` over two or more members, in the order in which they were written."""

    operator: Operator
    members: tuple["Expression", ...]


Expression = Licence | Joined
_Tokens = deque[Licence | str]
_Shape = tuple[str, frozenset[object]]


def parse(raw: object) -> Expression | Unreadable:
    """Read one licence field; anything but a short, well-formed expression is ``Unreadable``.

    Never raises, whatever ``raw`` is: it comes from strangers. At most ``MAX_CHARACTERS`` long and
    ``MAX_DEPTH`` deep.
    """
    if raw is None:
        return Unreadable("no licence is declared")
    if not isinstance(raw, str):
        return Unreadable(f"the licence is not text but {type(raw).__name__}")
    if len(raw) > MAX_CHARACTERS:
        return Unreadable(f"the licence is longer than {MAX_CHARACTERS:,} characters")
    if not _PRINTABLE.fullmatch(raw):
        return Unreadable("the licence contains a character that is not printable ASCII")
    return _parse_text(" ".join(raw.split()))


def render(expression: Expression) -> str:
    """Write an expression in normalised form: SPDX's spelling, no needless parentheses."""
    if isinstance(expression, Licence):
        return expression.text
    parts = (
        f"({render(member)})" if isinstance(member, Joined) else render(member)
        for member in expression.members
    )
    return f" {expression.operator} ".join(parts)


def licences_of(expression: Expression) -> Iterator[Licence]:
    """Every member, in the order in which they were written; one named twice comes twice."""
    if isinstance(expression, Licence):
        yield expression
    else:
        for member in expression.members:
            yield from licences_of(member)


def names_of(raw: object) -> frozenset[str]:
    """Every identifier by which a field may be judged, in lower case; none if it is unreadable."""
    expression = parse(raw)
    todo = [] if isinstance(expression, Unreadable) else list(licences_of(expression))
    names: set[str] = set()
    while todo:
        licence = todo.pop()
        names.add(licence.text.casefold())
        todo += licence.readings
    return frozenset(names)


def member_of(identifier: str, expression: object) -> bool:
    """Whether a licence text is of one of the licences that an expression names anyway."""
    return _bare(identifier) in map(_bare, names_of(expression))


def _bare(identifier: str) -> str:
    """Without what no licence text can tell: "only" from "or later"."""
    return identifier.casefold().removesuffix("-only").removesuffix("-or-later").removesuffix("+")


def differ(a: object, b: object) -> bool:
    """Whether two licence fields mean different things; spelling, order and doubles do not count.

    Fields that cannot be read differ unless their words are the same.
    """
    return _meaning(a) != _meaning(b)


def single_licence(text: str) -> Licence | None:
    """Read one member without ``AND`` and ``OR``; None for what has not the form of a licence."""
    key = text.casefold()
    if key in CERTAIN:
        return Licence(CERTAIN[key])
    if key in AMBIGUOUS:
        return Licence(text, tuple(map(Licence, AMBIGUOUS[key])))
    if key in FOR_A_PERSON:
        return Licence(text)
    base, *exception = re.split(r" (?:WITH|with) ", text, maxsplit=1)
    if exception:
        return _with_exception(single_licence(base), exception[0])
    return _word(text) if _WORD.fullmatch(text) else None


@lru_cache(maxsize=1_024)  # a lock repeats a dozen expressions a thousand times
def _parse_text(text: str) -> Expression | Unreadable:
    if not text:
        return Unreadable("no licence is declared")
    if text.casefold().startswith(REFERENCES):
        return Unreadable("the licence refers to a file that a person has to read")
    whole = single_licence(text)
    return whole if whole is not None else _parse_structure(text)


def _parse_structure(text: str) -> Expression | Unreadable:
    tokens = list(_joined_words(_TOKEN.findall(text)))
    if _depth(tokens) > MAX_DEPTH:
        return Unreadable(f"the licence nests parentheses more than {MAX_DEPTH} deep")
    read: _Tokens = deque()
    for token in tokens:
        item = token.upper() if token in _STRUCTURE else single_licence(token)
        if item is None:
            return Unreadable(f"{token[:80]!r} is not an SPDX licence expression")
        read.append(item)
    expression = _either(read)
    if expression is None or read:
        return Unreadable("the licence is not a well-formed SPDX licence expression")
    return expression


def _either(tokens: _Tokens) -> Expression | None:
    """``expression = all {"OR" all}``; None where the tokens cannot be that."""
    return _chain(tokens, "OR", _all)


def _all(tokens: _Tokens) -> Expression | None:
    return _chain(tokens, "AND", _operand)


def _chain(
    tokens: _Tokens, operator: Operator, read: Callable[[_Tokens], Expression | None]
) -> Expression | None:
    members: list[Expression] = []
    while not members or (tokens and tokens[0] == operator):
        if members:
            tokens.popleft()
        member = read(tokens)
        if member is None:
            return None
        if isinstance(member, Joined) and member.operator == operator:
            members.extend(member.members)
        else:
            members.append(member)
    return members[0] if len(members) == 1 else Joined(operator, tuple(members))


def _operand(tokens: _Tokens) -> Expression | None:
    first = tokens.popleft() if tokens else ")"
    if first != "(":
        return None if isinstance(first, str) else first
    inner = _either(tokens)
    return inner if tokens and tokens.popleft() == ")" else None


def _joined_words(tokens: Iterable[str]) -> Iterator[str]:
    """Put the words between two operators or parentheses together: ``Apache 2.0``, ``X WITH E``."""
    for structure, run in groupby(tokens, key=lambda token: token in _STRUCTURE):
        if structure:
            yield from run
        else:
            yield " ".join(run)


def _depth(tokens: Iterable[str]) -> int:
    depth = deepest = 0
    for part in tokens:
        depth += (part == "(") - (part == ")")
        deepest = max(deepest, depth)
    return deepest


def _word(text: str) -> Licence:
    known = canonical_licence(text)
    if known is not None and " WITH " in known:
        base, exception = known.split(" WITH ")
        return Licence(f"{base} WITH {exception}", (Licence(base),))
    if known is not None:
        return Licence(known)
    return _or_later(text.removesuffix("+")) if text.endswith("+") else Licence(text)


def _or_later(word: str) -> Licence:
    base = single_licence(word) or Licence(word)
    if " WITH " in base.text:  # a deprecated composite; "+" would read as part of its exception
        return Licence(f"{word}+")
    later = or_later(base.text)
    return Licence(later) if later else Licence(f"{base.text}+", (base,))


def _with_exception(base: Licence | None, exception: str) -> Licence | None:
    """``X WITH E``. An exception unknown to SPDX may take rights away, so it leaves no reading."""
    if base is None or not _WORD.fullmatch(exception):
        return None
    known = spdx_index().exceptions.get(exception.casefold())
    if known is None:
        return Licence(f"{base.text} WITH {exception}")
    return Licence(f"{base.text} WITH {known}", (base,))


def _meaning(raw: object) -> object:
    """Something equal for equal meanings; for the unreadable, the words themselves."""
    expression = parse(raw)
    if not isinstance(expression, Unreadable):
        return _shape(expression)
    return "unreadable", " ".join(raw.split()).casefold() if isinstance(raw, str) else raw or ""


def _shape(expression: Expression) -> _Shape:
    """Order and doubles taken out: ``A OR (B OR A)`` has the shape of ``B OR A``."""
    if isinstance(expression, Licence):
        return "", frozenset({expression.text.casefold()})
    members: set[object] = set()
    for shape in map(_shape, expression.members):
        operator, inner = shape
        members |= inner if operator in ("", expression.operator) else {shape}
    if len(members) > 1:
        return expression.operator, frozenset(members)
    (only,) = members
    return only if isinstance(only, tuple) else ("", frozenset({only}))
