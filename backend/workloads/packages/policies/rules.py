"""The judgement: what a policy says of one package, and which of its rules said so. Pure functions.

It knows findings by their shape alone, so that the API may judge what is stored without any
scanner being loaded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import translate
from functools import cached_property
from typing import Final, Literal, Protocol

from backend.workloads.packages.denied_versions import denies
from backend.workloads.packages.licences import LicenceVerdict, Tier
from backend.workloads.packages.policies.document import (
    INTEGRITIES,
    SEVERITIES,
    PolicyDocument,
    split,
)
from backend.workloads.packages.waivers.applying import Waiver

Effect = Literal["reject", "hold", "approve"]

WEAK: Final = ("none", "sha1")
"""Hashes that pin no bytes; nothing that rests on one is ever approved by itself."""

INSTALL_SCRIPT: Final = "install-script:"
"""Findings of such ids are under the rule of install scripts, not under that of heuristics."""

SHOWN: Final = 5  # names that one sentence repeats
_RANK: Final[dict[str, int]] = {word: rank for rank, word in enumerate(SEVERITIES)}


class Against(Protocol):
    """One finding; ``severity`` is a word, ``unknown`` where nobody rated it."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def severity(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one rule says. ``reason`` is one sentence without a full stop."""

    rule: str
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is judged about one package; what waivers cover is left out.

    Attributes:
        licence: the strictest of all that speak of one.
        integrity: the algorithm of the hash that the lock names, or ``none``.
        install_scripts: what npm would run on install, bundled packages' included.
        published_at: None where the registry does not say.
        denial: why a person's word forbids it; None where none does.
        repairs: advisories that this very version is the repair of.
        own_registry: it comes from a registry of one's own.
        waivers: those without which there would be more to judge.
    """

    name: str
    version: str
    licence: LicenceVerdict
    findings: Sequence[Against]
    scan_result: str
    integrity: str
    install_scripts: Sequence[str]
    published_at: datetime | None
    repairs: Sequence[str]
    own_registry: bool
    denial: str | None = None
    waivers: Sequence[Waiver] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """``rulings`` has every rule that refuses, then every one that leaves it to a person.

    ``until`` is when time alone changes it; None where it does not.
    """

    rulings: tuple[Ruling, ...]
    until: datetime | None = None

    @property
    def refusal(self) -> str | None:
        """Why policy refuses the package, in one sentence; None where it may go to a person."""
        return next((r.reason for r in self.rulings if r.effect == "reject"), None)

    @property
    def approves(self) -> bool:
        """Whether no rule wants a person."""
        return all(ruling.effect == "approve" for ruling in self.rulings)

    @property
    def outcome(self) -> Effect:
        if self.approves:
            return "approve"
        return "hold" if self.refusal is None else "reject"


class Rulebook:
    """One policy, made ready to judge many packages."""

    def __init__(self, policy: PolicyDocument) -> None:
        self.policy = policy
        self._denied: dict[str, list[str | None]] = {}
        for entry in policy.denied.packages:
            name, range_ = split(entry)
            self._denied.setdefault(name, []).append(range_)
        self._denied_scopes = frozenset(policy.denied.scopes)
        self._internal_scopes = frozenset(policy.internal.scopes)

    @cached_property
    def _internal_names(self) -> re.Pattern[str] | None:
        patterns = self.policy.internal.patterns
        return re.compile("|".join(map(translate, patterns))) if patterns else None

    @property
    def asks_age(self) -> bool:
        """Whether it matters when a version was published."""
        return self.policy.minimum_release_age.days > 0

    def internal(self, name: str) -> str | None:
        """The rule by which a name is one's own; None where it is not."""
        if _scope(name) in self._internal_scopes:
            return "internal.scopes"
        if self._internal_names and self._internal_names.match(name.lower()):
            return "internal.patterns"
        return None

    def denied(self, name: str, version: str) -> Ruling | None:
        """What denies this version by name."""
        scope = _scope(name)
        if scope in self._denied_scopes:
            return Ruling("denied.scopes", "reject", f"denied by policy: every package of {scope}")
        for range_ in self._denied.get(name, ()):
            if range_ is None or denies(range_, version):
                entry = name if range_ is None else f"{name}@{range_}"
                return Ruling("denied.packages", "reject", f"denied by policy: {entry}")
        return None

    def early(
        self, name: str, version: str, licence: LicenceVerdict | None, denial: str | None = None
    ) -> Judgement:
        """What refuses a package by its name and a first word of its licence, before any byte."""
        told = Ruling("denied", "reject", denial) if denial else None
        refused = [told, self.denied(name, version), _refused_licence(licence)]
        return Judgement(tuple(ruling for ruling in refused if ruling))

    def judge(self, case: Case, now: datetime) -> Judgement:
        """The whole judgement. The first refusal is the one that is shown."""
        age = self._age(case, now)
        said = [
            *self.early(case.name, case.version, case.licence, case.denial).rulings,
            *self._foreign(case),
            *self._findings(case.findings),
            *self._integrity(case),
            *self._scripts(case),
            *([age] if age else []),
            *_unsure(case),
            *_suspected(case.findings),
            *_waived(case.waivers),
        ]
        refusals = [ruling for ruling in said if ruling.effect == "reject"]
        holds = [ruling for ruling in said if ruling.effect == "hold"]
        if not refusals and not self.policy.auto_approve:
            holds.append(Ruling("auto_approve", "hold", "a person decides about every package"))
        rulings = (*refusals, *holds) or (
            Ruling("auto_approve", "approve", "no rule wants a person"),
        )
        ends = [waiver.until for waiver in case.waivers]
        ripe = self._old_enough(case) if age else None
        return Judgement(rulings, min([*ends, *([ripe] if ripe else [])], default=None))

    def _foreign(self, case: Case) -> Iterator[Ruling]:
        rule = None if case.own_registry else self.internal(case.name)
        if rule:
            yield Ruling(
                rule, "reject", f"{case.name} is an internal name, and it came from a public source"
            )

    def _findings(self, findings: Sequence[Against]) -> Iterator[Ruling]:
        if malware := [found for found in findings if found.kind == "malware"]:
            yield Ruling("malware", "reject", f"known malware: {_ids(malware)}")
        vulnerable = [found for found in findings if found.kind == "vulnerability"]
        severity = self.policy.severity
        refused = [found for found in vulnerable if _reaches(found, severity.reject_at)]
        held = [f for f in vulnerable if f not in refused and _reaches(f, severity.hold_at)]
        if refused:
            words = _severities(refused)
            reason = f"{words} vulnerability: {_ids(refused)}"
            yield Ruling("severity.reject_at", "reject", reason)
        if held:
            reason = f"{_severities(held)} vulnerability: {_ids(held)}"
            yield Ruling("severity.hold_at", "hold", reason)

    def _integrity(self, case: Case) -> Iterator[Ruling]:
        required = self.policy.required_integrity
        named = "no hash" if case.integrity == "none" else f"a {case.integrity}"
        given = _integrity_word(case.integrity)
        if INTEGRITIES.index(given) < INTEGRITIES.index(required):
            yield Ruling(
                "required_integrity", "reject",
                f"the lock names {named}, and policy requires a {required}",
            )  # fmt: skip
        if given in WEAK:
            yield Ruling("weak_integrity", "hold", f"the lock names {named}: no bytes are pinned")

    def _scripts(self, case: Case) -> Iterator[Ruling]:
        treatment = self.policy.install_scripts
        if case.install_scripts and treatment != "allow":
            names = _some(case.install_scripts)
            yield Ruling("install_scripts", treatment, f"runs scripts on install: {names}")

    def _age(self, case: Case, now: datetime) -> Ruling | None:
        rule = self.policy.minimum_release_age
        if not rule.days or (rule.exempt_security_fixes and case.repairs):
            return None
        ripe = self._old_enough(case)
        if ripe is None:
            reason = "the registry does not say when it was published"
            return Ruling("minimum_release_age", "hold", reason)
        if ripe <= now:
            return None
        published = ripe - timedelta(days=rule.days)
        reason = f"published {published:%Y-%m-%d}, which is less than {rule.days} days ago"
        return Ruling("minimum_release_age", rule.effect, reason)

    def _old_enough(self, case: Case) -> datetime | None:
        if case.published_at is None:
            return None
        return case.published_at + timedelta(days=self.policy.minimum_release_age.days)


def _refused_licence(licence: LicenceVerdict | None) -> Ruling | None:
    if licence is None or not licence.blocked:
        return None
    return Ruling("licences.blocked", "reject", f"licence blocked by policy: {licence.reason}")


def _unsure(case: Case) -> Iterator[Ruling]:
    """What always wants a person, whatever a policy says."""
    if case.licence.tier is None:
        yield Ruling("licences.unknown", "hold", f"unknown licence: {case.licence.reason}")
    elif case.licence.tier is Tier.AVOID:
        yield Ruling("licences.avoid", "hold", f"licence to be avoided: {case.licence.reason}")
    for kind, rule, reason in (
        ("licence", "licences.difference", "its licences contradict each other"),
        ("undetermined", "undetermined", "a range of affected versions cannot be read"),
        ("secret", "secret", "a secret lies in its files"),
    ):
        if found := [finding for finding in case.findings if finding.kind == kind]:
            yield Ruling(rule, "hold", f"{reason}: {_ids(found)}")
    if case.scan_result in {"not covered", "not scanned"}:
        yield Ruling("coverage", "hold", f"{case.scan_result}: no source vouches for it")


def _suspected(findings: Sequence[Against]) -> Iterator[Ruling]:
    """Signs prove nothing: they leave it to a person, and no policy makes more of them."""
    signs = [f for f in findings if f.kind == "heuristic" and not f.id.startswith(INSTALL_SCRIPT)]
    if signs:
        yield Ruling("heuristics", "hold", f"it may be malicious: {_ids(signs)}")


def _waived(waivers: Sequence[Waiver]) -> Iterator[Ruling]:
    """Two people bear it for a while; that somebody wants the package is for a third to say."""
    for waiver in waivers:
        reason = f"waiver {waiver.id} covers {waiver.words}, until {waiver.until:%Y-%m-%d}"
        yield Ruling("waivers", "hold", reason)


def _scope(name: str) -> str:
    """``@scope`` in lower case; empty for a name without one."""
    return name.partition("/")[0].lower() if name.startswith("@") else ""


def _reaches(found: Against, threshold: str) -> bool:
    # Nobody rated it: it counts as high.
    severity = "high" if found.severity == "unknown" else found.severity
    return _RANK[severity] >= _RANK[threshold]


def _severities(findings: Iterable[Against]) -> str:
    found = {finding.severity for finding in findings}
    return ", ".join(word for word in (*SEVERITIES[::-1], "unknown") if word in found)


def _integrity_word(algorithm: str) -> Literal["none", "sha1", "sha256", "sha384", "sha512"]:
    return next((word for word in INTEGRITIES if word == algorithm), "none")


def _ids(findings: Sequence[Against]) -> str:
    return _some([finding.id for finding in findings])


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
