"""A goal's text, cut into pieces that say one thing each. Linear in the text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.ffe.lexicon import ALSO_NOUNS, DETERMINERS, STOP, VERBS

MOST: Final = 60
"""Fragments that are read of one goal."""

_BULLET = re.compile(r"(?:[-*•–+]|\[[ xX]?\]|(?P<number>\d{1,2})[.)])\s+")  # noqa: RUF001 - people write these dashes
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\s+[–—]\s+")  # noqa: RUF001 - people write these dashes
_ITEM = re.compile(r",\s*(?:and\s+)?|\s+and\s+")
_THEN = re.compile(r"(?:then|next|finally|afterwards|after that|lastly)\b", re.IGNORECASE)
_JOINS: Final = frozenset({"and", "then", "&"})
_EDGES: Final = " \t.,;:!?\"'()[]«»“”"


@dataclass(frozen=True, slots=True)
class Fragment:
    """``listed``: an item of a list. ``follows``: it is to come after the one before it."""

    text: str
    listed: bool = False
    follows: bool = False


def fragments(text: str) -> list[Fragment]:
    """The first :data:`MOST` of them, in their order."""
    found: list[Fragment] = []
    for line in text.splitlines():
        for fragment in _of_line(" ".join(_printable(line).split())):
            if fragment.text:
                found.append(fragment)
            if len(found) == MOST:
                return found
    return found


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


def bare(word: str) -> str:
    """A word without the punctuation around it, in lower case."""
    return word.strip(_EDGES).lower()


def _of_line(line: str) -> Iterator[Fragment]:
    bullet = _BULLET.match(line)
    listed, numbered = bullet is not None, bool(bullet and bullet["number"])
    for sentence in _SENTENCE.split(line[bullet.end() :] if bullet else line):
        head, colon, tail = sentence.partition(": ")
        yield from _clauses(head, listed=listed, follows=numbered)
        items = _ITEM.split(tail.strip())
        if colon and len(items) > 1:
            yield from (Fragment(item.strip(_EDGES), listed=True) for item in items)
        elif colon:
            yield from _clauses(tail, listed=listed, follows=False)


def _clauses(sentence: str, *, listed: bool, follows: bool) -> Iterator[Fragment]:
    """Cut where one thing to do ends and the next begins."""
    words, start = sentence.split(), 0
    for at in range(2, len(words) - 1):
        sure = start > 0 or words[at - 1].endswith(",")  # one of several, it seems
        told = at - start - (bare(words[at - 1]) in _JOINS)
        if told >= 2 and _joins(words, at) and _begins(words, at, sure=sure):  # noqa: PLR2004 - a verb and its object
            yield _fragment(words[start:at], listed=listed, follows=follows)
            start, follows = at, False
    yield _fragment(words[start:], listed=listed, follows=follows)


def _fragment(words: list[str], *, listed: bool, follows: bool) -> Fragment:
    kept = [*words]
    while kept and bare(kept[-1]) in _JOINS:
        kept.pop()
    text = " ".join(kept).strip(_EDGES)
    return Fragment(text, listed=listed, follows=follows or bool(_THEN.match(text)))


def _joins(words: list[str], at: int) -> bool:
    """Whether what stands before ``at`` may end a clause."""
    return bare(words[at - 1]) in _JOINS or words[at - 1].endswith(",")


def _begins(words: list[str], at: int, *, sure: bool) -> bool:
    """Whether a verb stands at ``at``: what follows must leave no doubt where it may be a noun."""
    word, following = bare(words[at]), bare(words[at + 1])
    if words[at].endswith(",") or word in STOP:
        return False
    if following in DETERMINERS:
        return word.isalpha()
    return word in VERBS and (word not in ALSO_NOUNS or (sure and following not in STOP))
