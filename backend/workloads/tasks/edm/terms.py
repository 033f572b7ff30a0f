"""What a sentence is about, in comparable terms: stems, numbers, negation, direction. English."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from backend.workloads.tasks.edm.wording import load, plain, words

_RULES: Final = load("terms")
STOP: Final = frozenset(_RULES["stop"].split())
_UP: Final = frozenset(_RULES["up"].split())
_DOWN: Final = frozenset(_RULES["down"].split())
_SAME: Final[dict[str, str]] = _RULES["same"]
_NUMBERS: Final[dict[str, int]] = _RULES["numbers"]
_DENIES: Final = words(_RULES["denies"])
_NEGATES: Final = words(_RULES["negates"])

_TOKEN: Final = re.compile(r"[a-z][a-z'-]*[a-z]|[a-z]|\d[\d.,]*")
_SUFFIXES: Final = ("ational", "ization", "iness", "fully", "ings", "edly", "ing", "ies", "ied",
                    "est", "ed", "ly", "es", "er", "s", "e", "y")  # fmt: skip
_BOUND: Final = re.compile(
    rf"\b(?:more|less|fewer|higher|lower|larger|smaller) than (?=(?:{'|'.join(_NUMBERS)}|\d))"
)
"""Compares with a number, and not two things."""
SHORTEST: Final = 3
"""Letters of a stem."""
CLOSE: Final = 0.05
"""Numbers that differ by less than so much of the larger one are the same, but for years."""
_YEARS: Final = range(1000, 2200)
_NEGATING: Final = ("un", "in", "im", "ir", "non", "dis")


@dataclass(frozen=True)
class Terms:
    """One sentence. ``denied``: it says of its claim that it is wrong."""

    said: str

    @cached_property
    def tokens(self) -> list[str]:
        return _TOKEN.findall(self.said.replace("-", " "))

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(stem(t) for t in self.tokens if t not in STOP and not _is_number(t))

    @cached_property
    def numbers(self) -> frozenset[float]:
        return frozenset(_value(token) for token in self.tokens if _is_number(token))

    @cached_property
    def direction(self) -> int:
        """1 where it speaks of more, -1 of less, 0 of neither or both."""
        stems = [form for token in self.tokens for form in _forms(token)]
        total = sum((form in _UP) - (form in _DOWN) for form in stems)
        return (total > 0) - (total < 0)

    @cached_property
    def affirms(self) -> bool:
        """Whether it is positive; what is denied and negated, too, is."""
        denied = _DENIES.search(self.said) is not None
        negated = _NEGATES.search(_DENIES.sub(" ", self.said)) is not None
        return denied == negated

    @cached_property
    def compared(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """What stands on either side of "than"; None where nothing is compared."""
        before, than, after = self.said.partition(" than ")
        return (Terms(before).stems, Terms(after).stems) if than else None


def terms_of(sentence: str) -> Terms:
    return Terms(_BOUND.sub("", plain(sentence)))


def stem(token: str) -> str:
    """Without its ending: crude, and the same for both sides of a comparison."""
    token = _SAME.get(token, token)
    if token in _UP or token in _DOWN:
        return token
    for suffix in _SUFFIXES:
        if token.endswith(suffix) and len(token) - len(suffix) >= SHORTEST:
            root = token[: -len(suffix)]
            short = root[:-1] if len(root) > SHORTEST and root[-1] == root[-2] else root
            return _SAME.get(short, short)
    return token


def _forms(token: str) -> set[str]:
    """A word as the lists of directions may have it; once, whatever its ending."""
    bare = {token, token.removesuffix("s"), token.removesuffix("d"), token.removesuffix("ed"),
            token.removesuffix("es")}  # fmt: skip
    known = (bare | {token.removesuffix("ing"), token.removesuffix("ing") + "e"}) & (_UP | _DOWN)
    return set(sorted(known)[:1])


def _is_number(token: str) -> bool:
    return token[0].isdigit() or token in _NUMBERS


def _value(token: str) -> float:
    if token in _NUMBERS:
        return float(_NUMBERS[token])
    digits = token.strip(".,").replace(",", "")
    whole, _, rest = digits.partition(".")
    return float(f"{whole[:15]}.{rest.replace('.', '')[:6] or 0}")


def differ(one: frozenset[float], other: frozenset[float]) -> bool:
    """Whether both name a number that the other does not."""
    return bool(_only(one, other)) and bool(_only(other, one))


def antonyms(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether one has a word and the other its contrary by a prefix: "visible", "invisible".

    Those of a direction count as such.
    """
    known = _UP | _DOWN
    return any(prefix + word in other - known for word in one - known for prefix in _NEGATING)


def _only(one: frozenset[float], other: frozenset[float]) -> list[float]:
    return [n for n in one if not any(_alike(n, m) for m in other)]


def _alike(one: float, other: float) -> bool:
    if one in _YEARS and other in _YEARS:
        return one == other
    return abs(one - other) <= CLOSE * max(one, other)
