"""Which reviewed claim a sentence repeats, and whether it says the same of it or the contrary.

Similarity is Dice's coefficient of the two sets of stems, each weighted by its inverse document
frequency among the reviewed claims (Sparck Jones, 1972): 0 where nothing is shared, 1 where all is.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backend.workloads.tasks.edm.terms import Terms, antonyms, differ, terms_of

THRESHOLD: Final = 0.5
"""A reviewed claim that is less similar is another one."""
LEAST_SHARED: Final = THRESHOLD / (2 - THRESHOLD)
"""Of the weight of a sentence; a claim that shares less of it is not similar enough."""
ROUNDING: Final = 1e-9
MOST_TERMS: Final = 40
"""Of one sentence, the rarest: what is longer is about many things."""


class Stance(StrEnum):
    """How a sentence stands to a claim that it is similar to."""

    SAME = "same"
    OPPOSITE = "opposite"
    NUMBER = "number"
    """It names another number."""


@dataclass(frozen=True, slots=True)
class Match:
    """The most similar claim. ``similarity`` from 0 to 1."""

    claim_id: int
    similarity: float
    stance: Stance


class KnownClaims:
    """Reviewed claims, indexed by their stems."""

    def __init__(self, claims: Iterable[tuple[int, str]]) -> None:
        self._terms = {claim_id: terms_of(claim) for claim_id, claim in claims}
        held = Counter(stem for terms in self._terms.values() for stem in terms.stems)
        total = len(self._terms)
        self._weights = {stem: math.log(1 + total / count) for stem, count in held.items()}
        self._unknown = math.log(1 + total)
        self._sizes = {claim_id: self._size(terms.stems) for claim_id, terms in self._terms.items()}
        self._holding: dict[str, list[int]] = defaultdict(list)
        for claim_id, terms in self._terms.items():
            for stem in terms.stems:
                self._holding[stem].append(claim_id)

    def match(self, sentence: str) -> Match | None:
        """The claim that ``sentence`` is about; None where none is similar enough."""
        terms = terms_of(sentence)
        rarest = sorted(terms.stems, key=lambda stem: (-self._weight(stem), stem))[:MOST_TERMS]
        size = self._size(terms.stems)
        similar = {
            claim_id: 2 * self._shared(rarest, claim_id) / (size + self._sizes[claim_id])
            for claim_id in self._candidates(rarest, size)
        }
        if not similar:
            return None
        best = min(similar, key=lambda claim_id: (-similar[claim_id], claim_id))
        if similar[best] < THRESHOLD:
            return None
        return Match(best, similar[best], stance_of(terms, self._terms[best]))

    def _candidates(self, rarest: list[str], size: float) -> set[int]:
        """Every claim that may be similar enough, and few others.

        Not one that shares only the commonest stems, which thousands do: they weigh too little.
        """
        found = set[int]()
        left = self._size(rarest)
        for stem in rarest:
            if left < LEAST_SHARED * size - ROUNDING:
                break
            found.update(self._holding.get(stem, ()))
            left -= self._weight(stem)
        return found

    def _shared(self, rarest: list[str], claim_id: int) -> float:
        return self._size(self._terms[claim_id].stems.intersection(rarest))

    def _weight(self, stem: str) -> float:
        return self._weights.get(stem, self._unknown)

    def _size(self, stems: Iterable[str]) -> float:
        return math.fsum(map(self._weight, stems))


def stance_of(sentence: Terms, claim: Terms) -> Stance:
    """Contrary where an odd number of negation, words, direction and sides of "than" differ."""
    contrary = (
        (sentence.affirms != claim.affirms)
        + (antonyms(sentence.stems, claim.stems) or antonyms(claim.stems, sentence.stems))
        + (sentence.direction * claim.direction < 0)
        + _sides_are_swapped(sentence, claim)
    )
    if contrary % 2:
        return Stance.OPPOSITE
    return Stance.NUMBER if differ(sentence.numbers, claim.numbers) else Stance.SAME


def _sides_are_swapped(sentence: Terms, claim: Terms) -> bool:
    if sentence.compared is None or claim.compared is None:
        return False
    (left, right), (before, after) = sentence.compared, claim.compared
    return bool((left - right) & (after - before)) and bool((right - left) & (before - after))
