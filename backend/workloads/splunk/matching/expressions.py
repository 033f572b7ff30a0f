"""Regular expressions as Splunk's conf files have them: PCRE, with wildcards for easier entry.

Source: props.conf.spec ("stanza match language") and serverclass.conf.spec (``whitelist.<n>``).
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from backend.workloads.splunk.matching.syntax import (
    ANY,
    END,
    LAST,
    NOTHING,
    START,
    Chars,
    Choice,
    Look,
    Node,
    Range,
    Repeat,
    Sequence,
    Unreadable,
    one,
)

LONGEST: Final = 4096  # characters
DEEPEST: Final = 40  # brackets within brackets
MOST_TIMES: Final = 1000

NOT_NEWLINE: Final = Chars((("\n", "\n"),), negated=True)
DIGIT: Final[tuple[Range, ...]] = (("0", "9"),)
WORD: Final[tuple[Range, ...]] = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
SPACE: Final[tuple[Range, ...]] = (("\t", "\r"), (" ", " "))
CLASSES: Final = {"d": DIGIT, "w": WORD, "s": SPACE}
POSIX: Final[dict[str, tuple[Range, ...]]] = {
    "alnum": (("0", "9"), ("A", "Z"), ("a", "z")),
    "alpha": (("A", "Z"), ("a", "z")),
    "digit": DIGIT,
    "lower": (("a", "z"),),
    "space": SPACE,
    "upper": (("A", "Z"),),
    "word": WORD,
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}
CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "e": "\x1b", "a": "\a"}

_PLAIN = re.compile(r"[^\\.*|()\[\]{}?+^$]+")
_COUNTS = re.compile(r"\{([0-9]{1,5})(,([0-9]{0,5}))?\}")
_FLAGS = re.compile(r"\(\?([ism]*)(?:-([ism]+))?([:)])")
_NAMED = re.compile(r"\(\?(?:P?<([A-Za-z_]\w{0,99})>|'([A-Za-z_]\w{0,99})')", re.ASCII)
_LOOKS = {"(?=": (False, False), "(?!": (False, True), "(?<=": (True, False), "(?<!": (True, True)}
_HEX = re.compile(r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,5})\})")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What stands for what.

    Attributes:
        star: what ``*`` matches any number of; None where it repeats what stands before it.
        dots: whether ``...`` is any number of any characters.
        folded: whether upper and lower case are the same from the start.

    A ``.`` is a period where ``*`` is a wildcard, and any character where it is not.
    """

    star: Chars | None = None
    dots: bool = False
    folded: bool = False


REGEX: Final = Dialect()


def parse(text: str, dialect: Dialect = REGEX) -> Node:
    """The tree of a pattern; time is linear in its length.

    Raises:
        Unreadable: it is broken, too long or too deep, or needs what no finite automaton has:
            back references, conditions, recursion, possessive and atomic groups.
    """
    if len(text) > LONGEST:
        raise Unreadable(f"is longer than {LONGEST} characters")
    reader = _Reader(text, dialect)
    found = reader.choice(0)
    if reader.at < len(text):
        reader.refuse("closes a bracket that is not open")
    return found


class _Reader:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self.text = text
        self.dialect = dialect
        self.folded = dialect.folded
        self.dot_all = False
        self.at = 0

    def refuse(self, why: str) -> NoReturn:
        raise Unreadable(f"{why}, at character {self.at + 1}")

    def sees(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def took(self, word: str) -> bool:
        if not self.sees(word):
            return False
        self.at += len(word)
        return True

    def choice(self, depth: int) -> Node:
        options = [self.sequence(depth)]
        while self.took("|"):
            options.append(self.sequence(depth))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while True:
            parts.extend(self.plain_run())
            if self.at == len(self.text) or self.text[self.at] in "|)":
                break
            parts.append(self.wildcard() or self.repeated(self.atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def plain_run(self) -> list[Chars]:
        """Characters that stand for themselves, but for one that what follows may repeat."""
        run = _PLAIN.match(self.text, self.at)
        if run is None:
            return []
        end = run.end()
        if self.text[end : end + 1] in {"*", "+", "?", "{"}:
            end -= 1
        found = [one(char, folded=self.folded) for char in self.text[self.at : end]]
        self.at = end
        return found

    def wildcard(self) -> Node | None:
        """What it stands for ends with ``*``: a ``?`` makes that lazy, the same names match."""
        chars = ANY if self.dialect.dots and self.took("...") else None
        if chars is None and self.dialect.star is not None and self.took("*"):
            chars = self.dialect.star
        if chars is None:
            return None
        self.took("?")
        return Repeat(chars, 0, None)

    def atom(self, depth: int) -> Node:
        if self.sees("("):
            return self.group(depth + 1)
        if self.took("["):
            return self.bracket()
        if self.sees("\\"):
            return self.escape()
        if self.times() is not None:
            self.refuse("repeats nothing, or repeats a repeat")
        char = self.text[self.at]
        self.at += 1
        return self.plain(char)

    def plain(self, char: str) -> Node:
        if char == "^":
            return START
        if char == "$":
            return END
        if char == "." and self.dialect.star is None:
            return ANY if self.dot_all else NOT_NEWLINE
        return one(char, folded=self.folded)

    def repeated(self, part: Node) -> Node:
        times = self.times()
        if times is None:
            return part
        if self.took("+"):
            self.refuse("has a possessive repeat, which is not read here")
        self.took("?")
        return Repeat(part, *times)

    def times(self) -> tuple[int, int | None] | None:
        if self.dialect.star is None and self.took("*"):
            return 0, None
        if self.took("+"):
            return 1, None
        if self.took("?"):
            return 0, 1
        counts = _COUNTS.match(self.text, self.at)
        return self.counted(counts) if counts else None

    def counted(self, counts: re.Match[str]) -> tuple[int, int | None]:
        least = int(counts[1])
        most: int | None = least
        if counts[2]:
            most = int(counts[3]) if counts[3] else None
        if max(least, most or 0) > MOST_TIMES or (most is not None and most < least):
            self.refuse(f"repeats more than {MOST_TIMES} times, or fewer times than it must")
        self.at = counts.end()
        return least, most

    def group(self, depth: int) -> Node:
        if depth > DEEPEST:
            self.refuse(f"is nested deeper than {DEEPEST} brackets")
        kept = self.folded, self.dot_all
        flags = _FLAGS.match(self.text, self.at)
        if flags:
            self.at = flags.end()
            self.flag(flags)
            if flags[3] == ")":
                return NOTHING  # they hold to the end of the group that stands around
        look = None if flags else self.opened()
        found = self.choice(depth)
        if not self.took(")"):
            self.refuse("opens a bracket that is not closed")
        self.folded, self.dot_all = kept
        return found if look is None else Look(found, behind=look[0], negated=look[1])

    def flag(self, flags: re.Match[str]) -> None:
        on, off = flags[1], flags[2] or ""
        self.folded = (self.folded or "i" in on) and "i" not in off
        self.dot_all = (self.dot_all or "s" in on) and "s" not in off

    def opened(self) -> tuple[bool, bool] | None:
        """Past the opening of a group; (behind, negated) where it looks around."""
        for opening, look in _LOOKS.items():
            if self.took(opening):
                return look
        named = _NAMED.match(self.text, self.at)
        if named:
            self.at = named.end()
        elif self.sees("(?") or self.sees("(*"):
            self.refuse("has a group of a kind that is not read here")
        else:
            self.took("(")
        return None

    def escape(self) -> Node:
        ranges, negated = self.escaped()
        return Chars(ranges, negated, self.folded)

    def escaped(self) -> tuple[tuple[Range, ...], bool]:
        """What a backslash and what follows stand for."""
        if code := _HEX.match(self.text, self.at):
            self.at = code.end()
            char = chr(int(code[1] or code[2], 16))
            return ((char, char),), False
        char = self.text[self.at + 1 : self.at + 2]
        if not char:
            self.refuse("ends with a backslash")
        if char.lower() in CLASSES:
            self.at += 2
            return CLASSES[char.lower()], char.isupper()
        if char.isascii() and char.isalnum() and char not in CONTROLS:
            self.refuse("has an escape that is not read here (a backslash is written twice)")
        self.at += 2
        char = CONTROLS.get(char, char)
        return ((char, char),), False

    def bracket(self) -> Node:
        """A class; its opening is taken."""
        negated = self.took("^")
        ranges: list[Range] = []
        first = True
        while first or not self.sees("]"):
            if self.at >= len(self.text):
                self.refuse("opens a class that is not closed")
            ranges.extend(self.member())
            first = False
        self.at += 1
        return Chars(tuple(ranges), negated, self.folded)

    def member(self) -> tuple[Range, ...]:
        if self.took("[:"):
            return self.posix()
        found = self.single()
        if len(found) > 1 or found[0][0] != found[0][1]:
            return found
        if not self.sees("-") or self.text[self.at + 1 : self.at + 2] in {"", "]"}:
            return found
        self.at += 1
        low, high = found[0][0], self.single()[0][1]
        if high < low:
            self.refuse("has a range in a class that runs backwards")
        return ((low, high),)

    def posix(self) -> tuple[Range, ...]:
        name, closed, _ = self.text[self.at :].partition(":]")
        if not closed or name not in POSIX:
            self.refuse("has a class of a kind that is not read here")
        self.at += len(name) + 2
        return POSIX[name]

    def single(self) -> tuple[Range, ...]:
        if self.sees("\\"):
            ranges, negated = self.escaped()
            return _others(ranges) if negated else ranges
        char = self.text[self.at]
        self.at += 1
        return ((char, char),)


def _others(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """All characters that are in none of ``ranges``, which are sorted and apart."""
    starts = [chr(0), *(chr(ord(high) + 1) for _, high in ranges)]
    ends = [*(chr(ord(low) - 1) for low, _ in ranges), LAST]
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)
