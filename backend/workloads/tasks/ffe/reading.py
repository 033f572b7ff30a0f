"""What a goal is about, read out of its own words: its thing, its steps, and its conditions."""

import re
from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.ffe.clauses import Clause, clause_of, is_generic, strong
from backend.workloads.tasks.ffe.fragments import Fragment, bare, fragments
from backend.workloads.tasks.ffe.lexicon import ALSO_NOUNS, PREPOSITIONS, STOP, VERBS, Kind

MOST_OF_THING: Final = 80  # characters
_MOST_WORDS: Final = 6
_MOST_OF_TOPIC: Final = 5  # words
_MOST_CONDITIONS: Final = 3
_SHOWN: Final = 200  # characters
_LONGEST_SITTING: Final = 180  # minutes; what is longer is no sitting, but a time to wait for

_CONDITION = re.compile(
    r"\b(?:must|should|shall|has to|have to|needs to)"
    r"\s+(?:be|not|stay|have|keep|remain|take|cost|never)\b"
    r"|^(?:keep|stay|avoid|never|not|no|don['’]t|at least|at most|no more than|under|below|within"  # noqa: RUF001
    r"|without|before|until|by)\b"
    r"|\b(?:at least|at most|no more than|less than|fewer than|more than|up to)\s+\S*\d",
    re.IGNORECASE,
)
_DURATION = re.compile(r"\b(\d{1,3}(?:\.5)?)[\s-]*(min(?:ute)?s?|h|hrs?|hours?)\b", re.IGNORECASE)
_SPLITS: Final = {
    Kind.MOVE: frozenset({"to", "from", "into", "with", "onto", "by"}),
    Kind.LAUNCH: frozenset({"to", "on", "with", "without", "by"}),
    Kind.IMPROVE: frozenset({"to", "from", "by", "below", "under"}),
}
"""Where the thing of such work ends: what follows says where it goes."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that the goal itself says is to be done.

    ``follows``: it says that it comes after the one before. ``minutes``: as it says, if it does.
    """

    clause: Clause
    follows: bool = False
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """``thing``: what it is all about, as a noun phrase. ``aim``: the sentence that says so."""

    aim: str
    thing: str
    kind: Kind
    parts: tuple[Part, ...]
    conditions: tuple[str, ...]


def read(title: str, description: str) -> Reading | None:
    """None where its words name nothing."""
    pieces = fragments(title) + fragments(description)
    main = _main(pieces)
    if main is None:
        return None
    clause = clause_of(main.text)
    others = [piece for piece in pieces if piece is not main]
    conditions = [piece.text for piece in others if _CONDITION.search(piece.text)]
    thing = _thing(clause, others)
    return Reading(
        aim=main.text[:_SHOWN],
        thing=thing if strong(thing) else _as_it_is(main.text),
        kind=clause.kind,
        parts=tuple(_parts([p for p in others if p.text not in conditions], clause)),
        conditions=tuple(text[:_SHOWN] for text in conditions[:_MOST_CONDITIONS]),
    )


def _as_it_is(text: str) -> str:
    """From the first word that names something: where the rules leave nothing."""
    words = text.split()
    start = next(n for n, word in enumerate(words) if strong(word))
    return " ".join(words[start : start + _MOST_WORDS])[:MOST_OF_THING].strip()


def _main(pieces: list[Fragment]) -> Fragment | None:
    """The first that says what to do, if one of the first two does; else the first that names any.

    What is written above a list, such as a project's name, often comes before it.
    """
    named = [piece for piece in pieces if strong(piece.text)]
    tells = [p for p in named[:2] if (c := clause_of(p.text)).verb and c.told and not p.listed]
    return next(iter(tells or named), None)


def _thing(clause: Clause, others: list[Fragment]) -> str:
    words = _short(clause.thing.split(), clause.kind)
    if all(is_generic(word) for word in words if bare(word) not in STOP) and (
        topic := _topic(clause, words, others)
    ):
        words = [*words, f"({topic})"]
    return " ".join(words)[:MOST_OF_THING].strip()


def _short(words: list[str], kind: Kind) -> list[str]:
    ends = _SPLITS.get(kind, frozenset[str]())
    for at, word in enumerate(words):
        told = strong(" ".join(words[:at]))
        if told and (bare(word) in ends or (at >= _MOST_WORDS and bare(word) in PREPOSITIONS)):
            return words[:at]
    cut = words[: _MOST_WORDS + 1]
    while len(cut) > 1 and bare(cut[-1]) in STOP:
        cut.pop()
    return cut


def _topic(clause: Clause, words: list[str], others: list[Fragment]) -> str:
    """What tells this goal from others with as general a name; empty where nothing does."""
    known = strong(" ".join(words))
    rest = clause.thing.split()[len(words) :]
    for text in (" ".join(rest), *(piece.text for piece in others)):
        found = _noun_phrase(text)
        if any(not is_generic(w) for w in found if bare(w) not in STOP) and (
            strong(" ".join(found)) - known
        ):
            return " ".join(found)
    return ""


def _noun_phrase(text: str) -> list[str]:
    """The first few words that belong together, from the first that names something."""
    words = [word.strip(',;:.!?()"') for word in text.split()]
    start = next((n for n, w in enumerate(words) if strong(w) and bare(w) not in VERBS), len(words))
    found: list[str] = []
    for word in words[start : start + _MOST_OF_TOPIC]:
        plain = bare(word)
        if found and (_is_verb(plain) or (plain in STOP and plain not in ("of", "and", "the"))):
            break
        found.append(word)
    while found and bare(found[-1]) in STOP:
        found.pop()
    return found


def _is_verb(word: str) -> bool:
    base = word.removesuffix("s")
    return (word in VERBS or base in VERBS) and base not in ALSO_NOUNS


def _parts(pieces: list[Fragment], main: Clause) -> list[Part]:
    """What is to be done besides the aim itself, each thing once."""
    known, found = {strong(main.text)}, list[Part]()
    for piece in pieces:
        clause = clause_of(piece.text)
        about = strong(clause.text)
        to_do = bool(clause.verb and clause.told) or piece.listed
        if to_do and about and not any(about <= other for other in known):
            known.add(about)
            found.append(Part(clause, piece.follows and bool(found), _minutes(piece.text)))
    return found


def _minutes(text: str) -> float | None:
    told = _DURATION.search(text)
    if told is None:
        return None
    minutes = float(told[1]) * (1 if told[2].lower().startswith("m") else 60)
    return minutes if minutes <= _LONGEST_SITTING else None
