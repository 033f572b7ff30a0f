"""What a lock file asks for, told without loss: every entry is in a package or is an exclusion."""

from dataclasses import dataclass
from typing import Literal

from backend.workloads.packages.lockfile.integrity import Strength

LockFormat = Literal["npm-lock-v0", "npm-lock-v1", "npm-lock-v2", "npm-lock-v3"]

ExclusionReason = Literal[
    "workspace",  # a folder of the project itself
    "link",  # a symbolic link to a folder
    "file",  # a local folder or tarball
    "git",
    "remote-tarball",  # a URL that is no registry's address of these coordinates
    "foreign-origin",  # another host, and no sha512 says which bytes are meant
    "bundled",  # inside its parent's tarball: a component of the parent
    "invalid-name",
    "invalid-version",
    "missing-version",
    "malformed-entry",
]

DifferenceKind = Literal[
    "only-in-packages",
    "only-in-dependencies",
    "conflicting-sections",  # `packages` and `dependencies` name different artifacts
    "unpinned-in-dependencies",  # the same coordinates, but only `packages` names a hash
    "conflicting-integrity",  # one name@version with different hashes in one lock
    "resolved-elsewhere",  # `resolved` is another package's address; coordinates and sha512 decide
]


@dataclass(frozen=True, slots=True)
class WantedPackage:
    """One registry package, perhaps asked for by several entries.

    Packages differ by (name, version, integrity). All of it is a stranger's claim.
    """

    name: str
    version: str
    purl: str
    integrity: str | None
    """Canonical, see ``Integrity.canonical``."""
    integrity_strength: Strength
    entries: tuple[str, ...]
    """Every location that asks for it, in the lock's order."""
    dev: bool
    """True only where all entries are needed for development alone."""
    optional: bool
    """True only where all entries are optional."""
    aliases: tuple[str, ...]
    """Other names under which it is installed, sorted."""
    platform_limited: bool
    """Whether some entry names ``os``, ``cpu`` or ``libc``."""
    license_claim: str | None
    resolved_foreign: bool
    """Whether some entry was resolved at another host; the sha512 is what pins the bytes."""
    internal: bool
    """Its scope is internal by setting: never ask a public registry for it."""
    ecosystem: Literal["npm"] = "npm"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One entry without registry bytes of its own. ``detail`` is one sentence, safe to show."""

    entry: str
    reason: ExclusionReason
    detail: str


@dataclass(frozen=True, slots=True)
class Component:
    """A bundled entry: part of ``parent``'s bytes, None where the project itself bundles it."""

    entry: str
    name: str
    version: str | None
    parent: str | None
    """The parent package's purl."""


@dataclass(frozen=True, slots=True)
class LockDifference:
    """The lock contradicts itself at ``entry``. ``detail`` is one sentence, safe to show."""

    entry: str
    kind: DifferenceKind
    detail: str


@dataclass(frozen=True, slots=True)
class ParsedLock:
    """``entries`` = the sum of all packages' entries + the number of exclusions."""

    application_name: str | None
    application_version: str | None
    format: LockFormat
    entries: int
    packages: tuple[WantedPackage, ...]
    exclusions: tuple[Exclusion, ...]
    components: tuple[Component, ...]
    differences: tuple[LockDifference, ...]
    redacted: bytes
    """The file as it came, less what ``redaction`` takes out of it."""
