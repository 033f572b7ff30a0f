"""What a claim is most like, among examples: a second look at what no rule knows.

Naive Bayes over words, pairs of words and endings, with equal priors (McCallum and Nigam, "A
Comparison of Event Models for Naive Bayes Text Classification", 1998).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from backend.workloads.tasks.data_model import DebtKind
from backend.workloads.tasks.edm.wording import load, plain

MARGIN: Final = 5.0
"""By how much more likely (a natural logarithm) another kind must be than "unverified": where each
example is left out in its turn, four of five such answers are then right."""
SMOOTHING: Final = 0.5
LONG: Final = 6  # letters of a word whose ending says something, too
_WORD: Final = re.compile(r"[a-z']+|\d")


class Likeness:
    """Examples of every kind of debt, counted."""

    def __init__(self, examples: Mapping[DebtKind, Sequence[str]]) -> None:
        counted = {
            kind: Counter(feature for said in every for feature in set(_features(plain(said))))
            for kind, every in examples.items()
        }
        self._logarithms = {
            feature: {
                kind: math.log((counts[feature] + SMOOTHING) / (len(examples[kind]) + 1))
                for kind, counts in counted.items()
            }
            for feature in set().union(*counted.values())
        }
        self._kinds = tuple(examples)

    def kind_of(self, plain: str) -> DebtKind:
        """Unverified, unless it is much more like another kind."""
        known = [
            self._logarithms[feature]
            for feature in set(_features(plain))
            if feature in self._logarithms
        ]
        sums = {kind: math.fsum(each[kind] for each in known) for kind in self._kinds}
        best = max(self._kinds, key=lambda kind: sums[kind])
        return best if sums[best] > sums[DebtKind.UNVERIFIED] + MARGIN else DebtKind.UNVERIFIED


def from_examples() -> Likeness:
    """Of those in ``rules/examples.yaml``."""
    given = load("examples")
    return Likeness({kind: given[kind.value] for kind in DebtKind})


def _features(plain: str) -> Iterator[str]:
    """Its words with a figure as 0, its beginning and end, their pairs, and long words' endings."""
    before = "^"
    for word in ("0" if word.isdigit() else word for word in _WORD.findall(plain)):
        yield word
        yield f"{before} {word}"
        if len(word) >= LONG:
            yield f"~{word[-3:]}"
        before = word
    yield f"{before} $"
