"""What changes from one policy to another, and which of it lets more through. Pure functions.

A change that is not surely stricter counts as a loosening: a second admin has to look at it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.workloads.packages.licences import LicencePolicy, Tier, identity_of, looser
from backend.workloads.packages.policies.document import (
    INTEGRITIES,
    SEVERITIES,
    TREATMENTS,
    PolicyDocument,
    split,
)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Change:
    """``key`` names the place in the policy; ``before`` and ``after`` are None for nothing."""

    key: str
    before: Any
    after: Any
    loosens: bool


def changes(
    before: PolicyDocument, after: PolicyDocument, tiers: Mapping[str, Tier]
) -> list[Change]:
    """Every difference, in the order of the document.

    Args:
        before: the policy in force.
        after: the one that is proposed.
        tiers: the table's, which a policy's own come before.
    """
    return [
        *_tiers(before, after, tiers),
        *_scalars(before, after),
        *_denied(before, after),
        *_internal(before, after),
    ]


def tier_change(
    before: Mapping[str, Tier], after: Mapping[str, Tier], identifiers: Sequence[str]
) -> list[Change]:
    """What another table of tiers means for these licences."""
    judge_before, judge_after = LicencePolicy(before).judge, LicencePolicy(after).judge
    return [
        Change(f"licences.{identifier}", was, becomes, looser(becomes, was))
        for identifier in identifiers
        if (was := judge_before(identifier).tier) is not (becomes := judge_after(identifier).tier)
    ]


def effective_tiers(policy: PolicyDocument, tiers: Mapping[str, Tier]) -> dict[str, Tier]:
    """The table's tiers with those that a policy puts in their place."""
    own = policy.licences.tiers
    if not own:
        return dict(tiers)
    named = {identity_of(identifier) for identifier in own}
    kept = {key: tier for key, tier in tiers.items() if identity_of(key) not in named}
    return {**kept, **own}


def _tiers(
    before: PolicyDocument, after: PolicyDocument, tiers: Mapping[str, Tier]
) -> Iterator[Change]:
    named = sorted({*before.licences.tiers, *after.licences.tiers})
    if before.licences.tiers == after.licences.tiers:
        return
    found = tier_change(effective_tiers(before, tiers), effective_tiers(after, tiers), named)
    effective = {change.key: change for change in found}
    for identifier in named:
        was, becomes = (p.licences.tiers.get(identifier) for p in (before, after))
        if was is not becomes:
            change = effective.get(f"licences.{identifier}")
            yield Change(
                f"licences.tiers.{identifier}", was, becomes, change is not None and change.loosens
            )


def _scalars(before: PolicyDocument, after: PolicyDocument) -> Iterator[Change]:
    # Strictest first, so that a later place means looser.
    orders: tuple[tuple[str, str, Sequence[Any]], ...] = (
        ("severity", "reject_at", SEVERITIES),
        ("severity", "hold_at", SEVERITIES),
        ("minimum_release_age", "days", range(365, -1, -1)),
        ("minimum_release_age", "effect", ("reject", "hold")),
        ("minimum_release_age", "exempt_security_fixes", (False, True)),
        ("", "required_integrity", INTEGRITIES[::-1]),
        ("", "install_scripts", TREATMENTS[::-1]),
        ("", "auto_approve", (False, True)),
        ("", "four_eyes", (True, False)),
    )
    for section, name, strictest_first in orders:
        was, becomes = (
            getattr(getattr(p, section) if section else p, name) for p in (before, after)
        )
        if was != becomes:
            looser_now = strictest_first.index(becomes) > strictest_first.index(was)
            yield Change(f"{section}.{name}".lstrip("."), was, becomes, looser_now)


def _denied(before: PolicyDocument, after: PolicyDocument) -> Iterator[Change]:
    """An entry may go where another one denies at least as much."""
    kept = {*after.denied.packages}
    scopes = {*after.denied.scopes}
    for entry in _gone(before.denied.packages, after.denied.packages):
        name, _ = split(entry)
        covered = name in kept or name.partition("/")[0].lower() in scopes
        yield Change("denied.packages", entry, None, not covered)
    for entry in _gone(after.denied.packages, before.denied.packages):
        yield Change("denied.packages", None, entry, loosens=False)
    yield from _listed("denied.scopes", before.denied.scopes, after.denied.scopes)


def _internal(before: PolicyDocument, after: PolicyDocument) -> Iterator[Change]:
    yield from _listed("internal.scopes", before.internal.scopes, after.internal.scopes)
    yield from _listed("internal.patterns", before.internal.patterns, after.internal.patterns)


def _listed(key: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    for entry in _gone(before, after):
        yield Change(key, entry, None, loosens=True)
    for entry in _gone(after, before):
        yield Change(key, None, entry, loosens=False)


def _gone(before: Sequence[Value], after: Sequence[Value]) -> list[Value]:
    kept = {*after}
    return [entry for entry in before if entry not in kept]
