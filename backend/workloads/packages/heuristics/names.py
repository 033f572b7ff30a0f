"""Whether one package's name may be taken for another's. Pure functions.

Two names are alike that are one typing error apart (a Damerau-Levenshtein distance of one), or the
same once scopes, separators, capitals and characters that look alike are left out of account.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

SHORTEST: Final = 4
"""Characters of a name that a typing error is seen in: shorter ones are all alike."""
MOST: Final = 5
"""So many others are named of one name."""

_CROWD: Final = 12
"""With so many of those that share a key each name is compared: a lock may hold anything."""
_KEYS: Final = 200_000
"""So many are made of one lock's names, of the shortest first: a large lock has half of them."""
_COMPARED: Final = 100_000
"""So many pairs of one lock are compared, those in the smallest crowds first."""

_FOLDED: Final = str.maketrans({"0": "o", "1": "l", **dict.fromkeys("@/._-")})
_NO_SEPARATORS: Final = str.maketrans(dict.fromkeys("._-"))
_NO_DIGITS: Final = str.maketrans(dict.fromkeys("0123456789"))
_KEYBOARD: Final = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLACES: Final = {
    key: (row, column) for row, keys in enumerate(_KEYBOARD) for column, key in enumerate(keys)
}


def likeness(name: str, other: str) -> str | None:
    """What ``name`` differs from ``other`` by, where it may be taken for it; else None.

    Names of one scope are one owner's, and names that differ in their numbers alone are versions
    of one thing (``es2015``, ``es2016``): neither is a likeness.
    """
    one, two = name.lower(), other.lower()
    if one == two:
        return "capital letters" if name != other else None
    scopes = _scope(one), _scope(two)
    if (scopes[0] and scopes[0] == scopes[1]) or _numbered(one, two):
        return None
    if canonical(one) == canonical(two):
        return _confusion(one, two)
    if all(scopes):
        return _edit(*scopes) if _base(one) == _base(two) else None
    return None if any(scopes) else _edit(one, two)


def likenesses(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Of all these names those that are like others, each with up to ``MOST`` of them, sorted."""
    alike: dict[str, set[str]] = {}
    distinct = set(names)
    if len(distinct) == 1:  # the lock of a single package: not worth its keys
        return {}
    for one, two in _pairs(distinct):
        if likeness(one, two):
            alike.setdefault(one, set()).add(two)
            alike.setdefault(two, set()).add(one)
    return {name: tuple(sorted(others)[:MOST]) for name, others in alike.items()}


def _pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names that share a key: few, so that nearly no name is ever compared with another."""
    pairs = (
        (one, two)
        for crowd in map(sorted, sorted(_crowds(names), key=len))
        for place, one in enumerate(crowd, 1)
        for two in crowd[place : place + _CROWD]
    )
    return islice(pairs, _COMPARED)


def _crowds(names: Iterable[str]) -> Collection[set[str]]:
    """Names by each key that two or more have; very many names have only what is overlooked."""
    first: dict[str, str] = {}
    crowds: dict[str, set[str]] = {}
    left = _KEYS
    for name in sorted(set(names), key=lambda name: (len(name), name)):
        left -= len(name)
        for key in keys(name) if left > 0 else [_overlooked(name.lower())]:
            if (other := first.setdefault(key, name)) is not name:
                crowds.setdefault(key, {other}).add(name)
    return crowds.values()


def keys(name: str) -> list[str]:
    """Words of which two names that are alike share one; ``name_keys`` says the same in SQL.

    Of a scoped name the scope alone is where a typing error is looked for.
    """
    name = name.lower()
    if scope := _scope(name):
        base = _base(name)
        return [_overlooked(name), *(f"@{part}/{base}" for part in _one_less(scope))]
    return [_overlooked(name), *_one_less(name)]


def _overlooked(name: str) -> str:
    """Its key to those that only differ in what is easily overlooked."""
    return f"={canonical(name)}"


def _one_less(word: str) -> list[str]:
    """The word, and what it is without each of its characters; none of one that is short."""
    if len(word) < SHORTEST:
        return []
    return [word, *[word[:at] + word[at + 1 :] for at in range(len(word))]]


def canonical(name: str) -> str:
    """A name in lower case without what is easily overlooked in it."""
    return name.translate(_FOLDED).replace("rn", "m").replace("vv", "w")


def _scope(name: str) -> str:
    """Without its ``@``; empty for a name without one."""
    return name[1:].partition("/")[0] if name.startswith("@") else ""


def _base(name: str) -> str:
    return name.partition("/")[2]


def _numbered(one: str, two: str) -> bool:
    return one.translate(_NO_DIGITS) == two.translate(_NO_DIGITS) and all(
        any(char.isdigit() for char in name) for name in (one, two)
    )


def _confusion(one: str, two: str) -> str:
    if one.startswith("@") != two.startswith("@"):
        return "a scope"
    if one.translate(_NO_SEPARATORS) == two.translate(_NO_SEPARATORS):
        return "separators"
    return "characters that look alike"


def _edit(one: str, two: str) -> str | None:
    """The one typing error by which ``one`` became of ``two``; None where it takes more."""
    if min(len(one), len(two)) < SHORTEST:
        return None
    start = _same(one, two)
    typed, meant = one[start:], two[start:]
    if end := _same(typed[::-1], meant[::-1]):
        typed, meant = typed[:-end], meant[:-end]
    return _error(typed, meant, before=one[start - 1 : start], short=len(one) == SHORTEST)


def _error(typed: str, meant: str, *, before: str, short: bool) -> str | None:
    """Four letters with another one among them are mostly another word."""
    match len(typed), len(meant):
        case 1, 0:
            return "a doubled character" if typed == before else "an added character"
        case 0, 1:
            return "a missing character"
        case 1, 1 if _neighbours(typed, meant):
            return "a neighbouring key"
        case 1, 1 if not short:
            return "a replaced character"
        case 2, 2 if typed == meant[::-1]:
            return "two swapped characters"
    return None


def _same(one: str, two: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


def _neighbours(one: str, two: str) -> bool:
    if one not in _PLACES or two not in _PLACES:
        return False
    (row, column), (other_row, other_column) = _PLACES[one], _PLACES[two]
    return abs(row - other_row) <= 1 and abs(column - other_column) <= 1
