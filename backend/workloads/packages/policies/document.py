"""What a policy may say: the schema of its YAML.

A key that is left out has the value that it has in the policy that is shipped.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from backend.workloads.packages.licences import Tier, identity_of
from backend.workloads.packages.lockfile.coordinates import valid_name
from backend.workloads.packages.ranges import valid_range

Severity: TypeAlias = Literal["low", "medium", "high", "critical", "never"]
Integrity: TypeAlias = Literal["none", "sha1", "sha256", "sha384", "sha512"]
Treatment: TypeAlias = Literal["allow", "hold", "reject"]

SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical", "never")
INTEGRITIES: Final[tuple[Integrity, ...]] = ("none", "sha1", "sha256", "sha384", "sha512")
TREATMENTS: Final[tuple[Treatment, ...]] = ("allow", "hold", "reject")

MOST: Final = 10_000  # entries of one list
LONGEST_AGE: Final = 365  # days

_SCOPE: Final = re.compile(r"@?[a-z0-9~_.-]{1,200}", re.IGNORECASE)
_PATTERN: Final = re.compile(r"(?:@[a-z0-9~_.*-]+/)?[a-z0-9~_.*-]+", re.IGNORECASE)
_LITERALS: Final = 2  # characters of a pattern, so that none covers everything

Place: TypeAlias = tuple[str | int, ...]
"""Where in a document: keys, and indexes of lists."""


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("this is no scope: give one such as '@acme'")
    return "@" + text.removeprefix("@").lower()


def _pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError("this is no pattern of package names: give one such as 'acme-*'")
    if len(re.sub(r"[@/*.]", "", text)) < _LITERALS:
        raise ValueError("this pattern covers nearly every package: name more of it")
    return text.lower()


def _denied(text: str) -> str:
    name, range_ = split(text)
    if not valid_name(name):
        raise ValueError("this is no package name, nor a name@range")
    if range_ is None:
        return name
    if not valid_range(range_):
        raise ValueError("behind the @ stands no range of versions as npm reads it")
    return f"{name}@{range_}"


def split(entry: str) -> tuple[str, str | None]:
    """The name and the range of an entry of ``denied.packages``; None = every version."""
    name, at, range_ = entry[1:].partition("@")
    return entry[:1] + name.strip(), range_.strip() if at else None


Scope = Annotated[str, AfterValidator(_scope)]
Pattern = Annotated[str, StringConstraints(max_length=214), AfterValidator(_pattern)]
DeniedPackage = Annotated[str, StringConstraints(max_length=500), AfterValidator(_denied)]
LicenceId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+-]*$", max_length=200)
]


class Section(BaseModel):
    """Immutable; a key that it does not know is refused, and no value is bent into its type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Licences(Section):
    """``tiers`` come before those of the table of licences."""

    tiers: Annotated[
        dict[LicenceId, Annotated[Tier, Field(strict=False)]], Field(max_length=MOST)
    ] = {}


class SeverityThresholds(Section):
    """From which severity on a vulnerability refuses a package, or leaves it to a person."""

    reject_at: Severity = "critical"
    hold_at: Severity = "low"


class MinimumReleaseAge(Section):
    """How long a version must have been published; 0 days: no time at all."""

    days: Annotated[int, Field(ge=0, le=LONGEST_AGE)] = 0
    effect: Literal["hold", "reject"] = "hold"
    exempt_security_fixes: bool = True


class Denied(Section):
    """What nobody gets: ``name``, ``name@range``; every package of a scope."""

    packages: Annotated[list[DeniedPackage], Field(max_length=MOST)] = []
    scopes: Annotated[list[Scope], Field(max_length=MOST)] = []


class Internal(Section):
    """Names that are one's own: never asked of a public source, never published from one."""

    scopes: Annotated[list[Scope], Field(max_length=MOST)] = []
    patterns: Annotated[list[Pattern], Field(max_length=MOST)] = []


class PolicyDocument(Section):
    """One policy. ``version`` is that of this schema."""

    version: Literal[1]
    licences: Licences = Licences()
    severity: SeverityThresholds = SeverityThresholds()
    minimum_release_age: MinimumReleaseAge = MinimumReleaseAge()
    required_integrity: Integrity = "none"
    denied: Denied = Denied()
    install_scripts: Treatment = "hold"
    internal: Internal = Internal()
    auto_approve: bool = False
    four_eyes: bool = True

    def canonical(self) -> str:
        """The same text for the same policy, whatever order and spelling its YAML had."""
        plain = self.model_dump(mode="json")
        for section, name in (
            ("denied", "packages"), ("denied", "scopes"),
            ("internal", "scopes"), ("internal", "patterns"),
        ):  # fmt: skip
            plain[section][name] = sorted(set(plain[section][name]))
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def contradictions(policy: PolicyDocument) -> Iterator[tuple[Place, str]]:
    """Everything in a policy that another part of it makes void, each with its place."""
    severity = policy.severity
    if SEVERITIES.index(severity.hold_at) > SEVERITIES.index(severity.reject_at):
        yield (
            ("severity", "hold_at"),
            f"{severity.hold_at} never holds: {severity.reject_at} and worse is refused",
        )
    yield from _licences_named_twice(policy.licences)
    for index, scope in enumerate(policy.denied.scopes):
        if scope in policy.internal.scopes:
            yield ("denied", "scopes", index), f"{scope} is denied, and internal as well"
    for section, name, entries in (
        ("denied", "packages", policy.denied.packages),
        ("denied", "scopes", policy.denied.scopes),
        ("internal", "scopes", policy.internal.scopes),
        ("internal", "patterns", policy.internal.patterns),
    ):
        first = {entry: index for index, entry in reversed(list(enumerate(entries)))}
        for index, entry in enumerate(entries):
            if first[entry] != index:
                yield (section, name, index), f"{entry} stands here twice"
    if policy.auto_approve and policy.severity.hold_at == "never":
        yield (
            ("auto_approve",),
            "it would approve what is known to be vulnerable, for severity.hold_at is never",
        )


def _licences_named_twice(licences: Licences) -> Iterator[tuple[Place, str]]:
    seen: dict[str, str] = {}
    for identifier, tier in licences.tiers.items():
        other = seen.setdefault(identity_of(identifier), identifier)
        if other != identifier and licences.tiers[other] is not tier:
            yield (
                ("licences", "tiers", identifier),
                f"{identifier} is {tier}, and {other}, the same licence, {licences.tiers[other]}",
            )
