"""The policy's tiers, and the verdict that an expression earns under them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.workloads.packages.licences.expression import (
    Expression,
    Licence,
    Unreadable,
    licences_of,
    parse,
    render,
    single_licence,
)
from backend.workloads.packages.licences.spdx import canonical_licence
from backend.workloads.packages.licences.spellings import FOR_A_PERSON


class Tier(StrEnum):
    """How welcome a licence is: the ``status`` of a supported licence."""

    ALWAYS_ALLOWED = "always_allowed"
    ALLOWED = "allowed"
    AVOID = "avoid"
    BLOCKED = "blocked"

    @property
    def score(self) -> int:
        """0 (blocked) to 100 (always allowed)."""
        return _SCORES[self]


_SCORES = {Tier.ALWAYS_ALLOWED: 100, Tier.ALLOWED: 80, Tier.AVOID: 30, Tier.BLOCKED: 0}

# Unknown stands below avoid, for it may turn out to be worse, and above blocked, for a person may
# still clear it: silence never helps a licence, and never refuses one on its own.
_STRICTNESS: Mapping[Tier | None, int] = {
    Tier.ALWAYS_ALLOWED: 0,
    Tier.ALLOWED: 1,
    Tier.AVOID: 2,
    None: 3,
    Tier.BLOCKED: 4,
}


@dataclass(frozen=True, slots=True)
class LicenceVerdict:
    """What the policy says of one licence field.

    ``expression`` is its normalised form, at most 3,000 characters of printable ASCII, or None
    where it could not be read. ``tier`` and ``score`` (0 to 100) are None where nobody knows: a
    person decides. ``reason`` is one clause without a full stop. ``unknown`` names every member
    that has no tier, also one that another member of an ``OR`` made irrelevant.
    """

    expression: str | None
    tier: Tier | None
    score: int | None
    reason: str
    unknown: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        return self.tier is Tier.BLOCKED


@dataclass(frozen=True, slots=True)
class _Judged:
    """One member and its tier; ``reading`` is the licence whose tier it is."""

    licence: Licence
    tier: Tier | None
    reading: Licence


class LicencePolicy:
    """Judges licence fields by a table of tiers.

    Args:
        tiers: identifier to tier. An identifier is an SPDX one, ``X WITH E``, or any single word
            such as ``LicenseRef-Acme``; case does not matter. Where two name one licence
            (``GPL-2.0`` and ``GPL-2.0-only``), the stricter tier counts.
    """

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        self._tiers: dict[str, Tier] = {}
        for identifier, tier in tiers.items():
            key = identity_of(identifier)
            self._tiers[key] = max(tier, self._tiers.get(key, tier), key=_STRICTNESS.__getitem__)

    def allowing(self, identifiers: Iterable[str]) -> "LicencePolicy":
        """The same policy, but for these licences, which are allowed."""
        allowed = dict.fromkeys(map(identity_of, identifiers), Tier.ALLOWED)
        return LicencePolicy({**self._tiers, **allowed})

    def judge(self, raw: object) -> LicenceVerdict:
        """Judge one licence field: OR takes its best member, AND its worst. Never raises.

        A licence is looked up under its own name first; ``X WITH E`` and ``X+`` fall back to
        ``X``, an ambiguous word to the strictest of its readings.
        """
        expression = parse(raw)
        if isinstance(expression, Unreadable):
            return LicenceVerdict(None, None, None, expression.reason)
        decisive = self._decisive(expression)
        members = dict.fromkeys(licences_of(expression))
        unknown = tuple(m.text for m in members if self._judge_one(m).tier is None)
        score = None if decisive.tier is None else decisive.tier.score
        return LicenceVerdict(render(expression), decisive.tier, score, _reason(decisive), unknown)

    def _decisive(self, expression: Expression) -> _Judged:
        if isinstance(expression, Licence):
            return self._judge_one(expression)
        choose = max if expression.operator == "AND" else min
        return choose(map(self._decisive, expression.members), key=_strictness)

    def _judge_one(self, licence: Licence) -> _Judged:
        tier = self._tiers.get(licence.text.casefold())
        if tier is not None or not licence.readings:
            return _Judged(licence, tier, licence)
        worst = max(map(self._judge_one, licence.readings), key=_strictness)
        return _Judged(licence, worst.tier, worst.reading)


def stricter(a: LicenceVerdict, b: LicenceVerdict) -> LicenceVerdict:
    """The verdict that counts when two sources disagree; ``a`` where they are equally strict.

    Strictest first: blocked, unknown, avoid, allowed, always allowed.
    """
    return max(a, b, key=lambda verdict: _STRICTNESS[verdict.tier])


def _strictness(judged: _Judged) -> int:
    return _STRICTNESS[judged.tier]


def looser(after: Tier | None, before: Tier | None) -> bool:
    """Whether ``after`` lets more through than ``before``; None is no tier at all."""
    return _STRICTNESS[after] < _STRICTNESS[before]


def identity_of(identifier: str) -> str:
    """One word for every spelling of a licence's identifier."""
    licence = single_licence(" ".join(identifier.split()))
    return (licence.text if licence else identifier).casefold()


def _reason(judged: _Judged) -> str:
    name, reading = judged.licence.text, judged.reading.text
    if judged.tier is None:
        return _why_unknown(name, reading)
    if name == reading:
        return f"{name} has status {judged.tier}"
    return f"{name} is read as {reading}, which has status {judged.tier}"


def _why_unknown(name: str, reading: str) -> str:
    if said := FOR_A_PERSON.get(name.casefold()):
        return f"{name} {said}"
    if canonical_licence(reading.removesuffix("+")):
        return f"{reading} has no tier in the licence policy"
    return f"{reading[:80]} is not a known SPDX licence"
