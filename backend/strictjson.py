"""JSON from strangers: one reader that refuses what other readers disagree about or choke on.

Refused, each with the place named: what is not UTF-8 (a byte-order mark is tolerated), what is not
JSON, nesting over a limit, duplicate keys, NaN and infinities, numbers of more than 100 digits, NUL
characters and lone surrogates. Time and memory are linear in the input and nothing recurses deeper
than the limit.
"""

import json
import math
import re
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NoReturn

from backend.problems import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
MAX_DIGITS = 100
SHOWN = 60  # characters of a stranger's text that a message repeats

# Possessive, and content to end with the input: an unclosed string costs one pass in all.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEP = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # signed bytes: +1, -1

_NUMBERS = bytes(c if c in b"0123456789.eE+-" else 0x20 for c in range(256))

# Outside strings. Where no run is that long and no exponent has three digits, numbers are fine.
_PERHAPS_BAD_NUMBER = re.compile(
    rb"(?<![0-9.eE+-])[0-9.eE+-]{101}|[0-9][eE]\+?[0-9]{3}"  # 101 = MAX_DIGITS + 1
)

# Escapes are paired from the left, so an escaped backslash never lends its second half to a \u.
_UNTIL_BAD_ESCAPE = re.compile(
    r"(?:[^\\]++"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\(?!u0000|u[dD][89a-fA-F]).)*+",
    re.DOTALL,
)
_PERHAPS_BAD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def loads(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON document.

    Args:
        data: UTF-8, with or without a byte-order mark.
        max_depth: how many arrays and objects may be open at once.

    Raises:
        Malformed: code ``malformed-json``; the sentence names line and column, or the key path.
    """
    text = _decode(data)
    bare = _without_strings(data)
    _check_depth(bare, max_depth)
    _check_characters(text)
    reader = _Reader(watch_numbers=_may_hold_bad_numbers(bare))
    try:
        document = reader.decode(text)
    except json.JSONDecodeError as error:
        _refuse(f"not JSON: {error.msg}", f"line {error.lineno} column {error.colno}")
    if reader.oddities:
        _refuse_oddity(document, reader.oddities)
    return document


def shown(text: str) -> str:
    """``text`` quoted and shortened, fit for a message: printable ASCII on one line."""
    return json.dumps(text if len(text) <= SHOWN else text[:SHOWN] + "...")


class _Reader:
    """The standard decoder, with a note of every value that JSON allows and we do not.

    Its hooks cannot know where they are; a noted value is found again by walking the document.
    """

    def __init__(self, *, watch_numbers: bool) -> None:
        self.oddities: dict[int, tuple[Any, str]] = {}
        self.decode = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._int if watch_numbers else None,
            parse_float=self._float if watch_numbers else None,
            parse_constant=self._constant,
        ).decode

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            self._note(found, f"the key {shown(_repeated(pairs))} stands twice in one object")
        return found

    def _int(self, literal: str) -> Any:
        return self._too_long(literal) or int(literal)

    def _float(self, literal: str) -> Any:
        if too_long := self._too_long(literal):
            return too_long
        value = float(literal)
        return value if math.isfinite(value) else self._constant(literal)

    def _too_long(self, literal: str) -> Any:
        digits = sum(map(str.isdigit, literal)) if len(literal) > MAX_DIGITS else 0
        if digits <= MAX_DIGITS:
            return None
        return self._note(object(), f"a number of {digits} digits ({MAX_DIGITS} are allowed)")

    def _constant(self, literal: str) -> Any:
        return self._note(object(), f"{shown(literal)} is not a finite number")

    def _note(self, value: Any, complaint: str) -> Any:
        self.oddities[id(value)] = (value, complaint)  # kept alive, so that its id stays its own
        return value


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse("not UTF-8", _line_and_column(data, error.start))


def _without_strings(data: bytes) -> bytes:
    """``data`` less its strings, of which the last may be unclosed."""
    if b"\\" in data:
        return _STRING.sub(b"", data)
    return b"".join(data.split(b'"')[::2])


def _may_hold_bad_numbers(bare: bytes) -> bool:
    """False where every number is fine; ``bare`` has no strings."""
    runs = b" ".join(set(bare.translate(_NUMBERS).split()))  # a document repeats a few
    return bool(_PERHAPS_BAD_NUMBER.search(runs))


def _check_depth(bare: bytes, max_depth: int) -> None:
    """Count the brackets of ``bare``, which has no strings.

    Up to the first syntax error this is the true depth, and the decoder goes no further than that.
    """
    if bare.count(b"{") + bare.count(b"[") <= max_depth:
        return
    steps = array("b", bare.translate(_STEP, _NOT_BRACKETS))
    if max(accumulate(steps), default=0) > max_depth:
        raise Malformed(
            f"The JSON is nested deeper than {max_depth} levels.", code="malformed-json"
        )


def _check_characters(text: str) -> None:
    nul = text.find("\0")
    if nul >= 0:
        _refuse("a NUL character", _line_and_column(text, nul))
    if not _PERHAPS_BAD_ESCAPE.search(text):
        return
    end = _UNTIL_BAD_ESCAPE.match(text).end()  # type: ignore[union-attr]  # it matches nothing at least
    if _PERHAPS_BAD_ESCAPE.match(text, end):
        what = "a NUL character" if text.startswith("\\u0000", end) else "a lone surrogate"
        _refuse(what, _line_and_column(text, end))


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    """The first key that stands twice; there is one."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    return key


def _refuse_oddity(document: Any, oddities: dict[int, tuple[Any, str]]) -> NoReturn:
    """Name the first odd value that the document still holds.

    A repeated key hides its earlier value and what was odd in there, but never the object it is in.
    """
    path: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("", document)])]
    while True:
        for key, value in levels[-1]:
            if id(value) in oddities:
                keys = "".join(map(_subscript, [*path[1:], key])) if path else "the top level"
                _refuse(oddities[id(value)][1], keys, "in ")
            if isinstance(value, dict | list):
                path.append(key)
                levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
        else:
            levels.pop()
            path.pop()


def _subscript(key: str | int) -> str:
    return f"[{shown(key) if isinstance(key, str) else key}]"


def _line_and_column(text: str | bytes, offset: int) -> str:
    before = text[:offset]
    newline: Any = "\n" if isinstance(before, str) else b"\n"
    return f"line {before.count(newline) + 1} column {offset - before.rfind(newline)}"


def _refuse(what: str, place: str, link: str = "at ") -> NoReturn:
    raise Malformed(f"The JSON cannot be read: {what}, {link}{place}.", code="malformed-json")
