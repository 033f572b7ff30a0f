"""What one fragment of a goal asks for: a verb, and what it is done to. By rules, no more."""

import re
from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.ffe.fragments import bare
from backend.workloads.tasks.ffe.lexicon import (
    ALSO_NOUNS,
    DAYS,
    DETERMINERS,
    GENERIC,
    LOOSE_VERBS,
    MONTHS,
    NOUNS,
    NUMBERS,
    PARTICLES,
    PREPOSITIONS,
    SEASONS,
    SPANS,
    STOP,
    VERBS,
    Kind,
    base_of,
    gerund,
)

MOST_WORDS: Final = 9
"""Of what a verb is done to, as far as a title repeats it."""

_AIM = "goal|aim|objective|task|mission|dream|resolution|plan|project|idea"
_WISH = "want|need|have|would like|like|plan|hope|intend|aim|wish|try|am going|are going|am trying"
_SOFT = "really|also|just|still|finally|then|now|first|next|always"
_LEAD = re.compile(
    r"(?:(?:please|firstly|secondly|thirdly|second|third|lastly|afterwards|later|after that|and"
    rf"|but|so|{_SOFT})\b[,:]?\s+){{0,3}}"
    rf"(?:(?:my|our|the|this)\s+(?:\w+\s+)?(?:{_AIM})\s+(?:is|was|will be)\s+(?:to\s+)?"
    rf"|(?:i|we|you)\s+(?:(?:{_SOFT})\s+)?(?:{_WISH})\s+to\s+"
    r"|(?:i|we|you)['’]d (?:like|love) to\s+"  # noqa: RUF001 - as people write
    r"|(?:i|we|you)\s+(?:should|must|will|shall|can|could|might)\s+"
    r"|let['’]?s\s+|how to\s+|to\s+"  # noqa: RUF001
    rf"|(?:want|need|have|plan|hope|aim|intend|try|trying|going)\s+to\s+)?(?:(?:{_SOFT})\s+)?",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_WHEN = "|".join(sorted(MONTHS | DAYS | SEASONS)) + r"|\d{4}|q[1-4]|today|tomorrow|tonight"
_SPAN = "|".join(sorted(SPANS))
_MANY = rf"(?:about |around )?(?:\d[\d.,]*|a|an|few|a few|several|{'|'.join(sorted(NUMBERS))})"
_TAIL = re.compile(
    r"\s(?:so that|in order to|because|since|which|who|whose|that|where|when|while|although|though"
    r"|instead of|rather than|if|unless)\b"
    r"|\s(?:by|before|until|till|within|in|over|during|for|on|at|after|from|no later than)\s+"
    r"(?:the\s+)?(?:(?:end|start|beginning|middle|next|coming|this|last|mid|early|late|first"
    r"|second)\b[\s-]*(?:of\s+(?:the\s+)?)?(?:\w+\s+)?)?"
    rf"(?:{_WHEN}|{_MANY}[\s-]+(?:{_SPAN})s?|(?:{_SPAN})s?|weekend|deadline)\b",
    re.IGNORECASE,
)
_PHRASAL: Final = frozenset({"up", "out", "off", "down", "away", "back", "over", "together"})
_AMOUNTS: Final = frozenset({"more", "less", "fewer", "enough"})
_MANNERS: Final = frozenset({"better", "faster", "well", "again", "longer", "higher", "harder"})
_MOST_LETTERS: Final = 40  # of one word
_STEM: Final = 20  # letters that two forms of a word have in common, at most
_QUOTES: Final = '"“”«»'
_LETTERS = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Clause:
    """``verb`` in its base form, with its particle; None where it is a thing that is named.

    ``told`` are the words after it, as far as a title repeats them.
    """

    verb: str | None
    told: tuple[str, ...]
    kind: Kind

    @property
    def text(self) -> str:
        return " ".join(filter(None, (self.verb, *self.told)))

    @property
    def thing(self) -> str:
        """As a noun phrase: "the garage", "Spanish", "running faster"."""
        words = self.told
        if self.verb and self._is_doing:
            verb, *particle = self.verb.split()
            return " ".join((gerund(verb), *particle, *words))
        first = bare(words[0]) if words else ""
        if first in DETERMINERS:
            return " ".join(("the", *words[1:]))
        if self.verb is None and (first in GENERIC or first in NOUNS):
            return " ".join(("the", first, *words[1:]))
        if self.verb is None and not self.text.isascii():
            return f'"{self.text}"'  # of another language: it fits into no English sentence
        return " ".join(words)

    @property
    def _is_doing(self) -> bool:
        """Whether it is named by what is done, rather than by what it is done to."""
        first = bare(self.told[0]) if self.told else ""
        trains = VERBS.get((self.verb or "").split()[0]) is Kind.TRAIN
        manner = len(self.told) == 1 and (first.endswith("ly") or first in _MANNERS)
        state = self.verb == "get" and first not in DETERMINERS
        return not first or trains or manner or state or first in PREPOSITIONS | _AMOUNTS


def clause_of(fragment: str) -> Clause:
    """Read one fragment."""
    text = _ASIDE.sub(" ", fragment)
    lead = _LEAD.match(text)
    text = text[lead.end() :] if lead else text
    if tail := _TAIL.search(text, 1):
        text = text[: tail.start()]
    words = text.split()
    verb, rest = _verb(words)
    told = _told(rest, verb)
    return Clause(verb, told, _kind(verb, told))


def strong(text: str) -> frozenset[str]:
    """The stems of the words that tell what a text is about."""
    return frozenset(stem(word) for word in map(bare, text.split()) if _is_strong(word))


def stem(word: str) -> str:
    """Without the commonest endings, so that two forms of a word are one."""
    word = base_of(word) or word
    for ending in ("ies", "ing", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - letters
            return word.removesuffix(ending)[:_STEM]
    return word[:_STEM]


def is_generic(word: str) -> bool:
    return bare(word) in GENERIC


def _is_strong(word: str) -> bool:
    return bool(word) and word not in STOP and any(map(str.isalnum, word))


def _verb(words: list[str]) -> tuple[str | None, list[str]]:
    """The verb that ``words`` begin with, and the rest."""
    first = bare(words[0]) if words else ""
    second = bare(words[1]) if len(words) > 1 else ""
    base = base_of(first)
    if base is None and second in DETERMINERS and first not in STOP and _LETTERS.match(first):
        base = first  # whatever it means: only a verb is followed by a determiner
    if base is None or (second == "of" and first in ALSO_NOUNS):
        return None, words
    rest = words[1:]
    if second in _PHRASAL:
        return f"{base} {second}", rest[1:]
    if second in ("and", "&") and len(words) > 3 and base_of(bare(words[2])):  # noqa: PLR2004 - "plan and write it"
        return (base if base not in LOOSE_VERBS else base_of(bare(words[2]))), words[3:]
    if second in PARTICLES and len(words) > 2:  # noqa: PLR2004 - "prepare for it"
        return f"{base} {second}", rest[1:]
    return base, rest


def _told(words: list[str], verb: str | None) -> tuple[str, ...]:
    """Cut to a length that a title can hold, and where it would end in the air."""
    shown = [kept for word in words if (kept := word.strip(_QUOTES))]
    if verb and len(shown) > 1 and bare(shown[0]) in ("to", "how"):
        shown = _named_by_a_verb(shown)
    shown = [word[:_MOST_LETTERS] for word in shown[:MOST_WORDS]]
    while shown and bare(shown[-1]) in STOP:
        shown.pop()
    if shown:
        shown[-1] = shown[-1].rstrip(".!?,;:")
    return tuple(shown)


def _named_by_a_verb(words: list[str]) -> list[str]:
    """As a thing: "to cook rice", or "how to cook rice", as "cooking rice"."""
    rest = words[2:] if bare(words[0]) == "how" and bare(words[1]) == "to" else words[1:]
    first = bare(rest[0]) if rest else ""
    return [gerund(first), *rest[1:]] if first in VERBS else words


def _kind(verb: str | None, told: tuple[str, ...]) -> Kind:
    base = verb.split()[0] if verb else ""
    known = VERBS.get(base, Kind.DO)
    if verb and base not in LOOSE_VERBS and known is not Kind.DO:
        return known
    nouns = [bare(word) for word in told]
    named = (NOUNS.get(noun) or NOUNS.get(noun.removesuffix("s")) for noun in reversed(nouns))
    return next((kind for kind in named if kind), known)
