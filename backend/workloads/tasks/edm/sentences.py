"""Where the sentences of a message begin and end. English; linear in the length of the text.

What is not the author's own prose is left out: fenced code, and lines quoted with ``>``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.edm.wording import load

ABBREVIATIONS: Final = frozenset(load("speech")["abbreviations"].split())
"""Words that a full stop does not end a sentence after."""

_END: Final = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s)")
_NEXT: Final = re.compile(r"\s+[\"'\u201c\u2018(\[]*([^\s\"'\u201c\u2018(\[])")
_LAST_WORD: Final = re.compile(r"([A-Za-z](?:[A-Za-z.]{0,10}[A-Za-z])?)\.$")
_LINE: Final = re.compile(r"[^\n]*\n?")
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_BULLET: Final = re.compile(r"\s*(?:[-*+\u2022]|\d{1,3}[.)]|#{1,6})\s+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text`` is what stands at ``start`` of the message; both count characters."""

    start: int
    text: str


def sentences_of(message: str) -> list[Sentence]:
    """Every sentence of the author's own, in order."""
    return [one for start, end in _paragraphs(message) for one in _sentences(message, start, end)]


def _paragraphs(message: str) -> Iterator[tuple[int, int]]:
    """Stretches of lines that run on: the next begins with a small letter, and with no bullet."""
    begun: int | None = None
    fenced = False
    for line in _LINE.finditer(message):
        start = line.start()
        words = line[0].strip()
        fence = _FENCE.match(line[0]) is not None
        bullet = _BULLET.match(line[0])
        runs_on = bullet is None and words[:1].islower()
        if begun is not None and (fenced or fence or not runs_on):
            yield begun, start
            begun = None
        fenced ^= fence
        if begun is None and words and not fenced and not fence and not words.startswith(">"):
            begun = bullet.end() + start if bullet else start
    if begun is not None:
        yield begun, len(message)


def _sentences(message: str, start: int, end: int) -> Iterator[Sentence]:
    begun = start
    for stop in _END.finditer(message, start, end):
        if _ends(message, begun, stop):
            yield from _trimmed(message, begun, stop.end())
            begun = stop.end()
    yield from _trimmed(message, begun, end)


def _ends(message: str, begun: int, stop: re.Match[str]) -> bool:
    """Whether a sentence ends at these marks: not after an abbreviation or an initial."""
    following = _NEXT.match(message, stop.end())
    if following is not None and following[1].islower():
        return False
    if stop[0] != ".":
        return True
    word = _LAST_WORD.search(message, max(begun, stop.end() - 13), stop.end())
    if word is None:
        return True
    initial = len(word[1]) == 1 and word[1].isupper() and word[1] != "I"
    return not initial and word[1].lower() not in ABBREVIATIONS


def _trimmed(message: str, start: int, end: int) -> Iterator[Sentence]:
    text = message[start:end]
    bare = text.strip()
    if any(c.isalpha() for c in bare):
        yield Sentence(start + len(text) - len(text.lstrip()), bare)
