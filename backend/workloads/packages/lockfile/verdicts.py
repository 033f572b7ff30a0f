"""One lock entry: a package that the registry serves, or the reason why it is none."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from backend.strictjson import shown
from backend.workloads.packages.lockfile import coordinates
from backend.workloads.packages.lockfile.coordinates import Coordinates
from backend.workloads.packages.lockfile.integrity import (
    NO_INTEGRITY,
    Integrity,
    parse_integrity,
    parse_shasum,
)
from backend.workloads.packages.lockfile.model import Exclusion, ExclusionReason
from backend.workloads.packages.lockfile.sections import RawEntry
from backend.workloads.packages.lockfile.urls import address_of, redact_text, redact_url, spec_kind

MAX_LICENSE_CLAIM = 255  # characters


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry that asks for registry bytes."""

    entry: str
    coordinates: Coordinates
    integrity: Integrity
    alias: str | None
    dev: bool
    optional: bool
    platform_limited: bool
    license_claim: str | None
    foreign: bool
    elsewhere: str | None
    """The redacted ``resolved`` where it is another package's address at the right host."""


Verdict = Wanted | Exclusion


class Origins(NamedTuple):
    """What entries are held against: ``parse_lock``'s origins, the root's workspace patterns."""

    hosts: frozenset[str]
    workspaces: frozenset[str]


class _Excluded(Exception):
    """Ends the judging of one entry."""

    def __init__(self, reason: ExclusionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: ExclusionReason = reason
        self.detail = detail


def judge(raw: RawEntry, origins: Origins) -> Verdict:
    """Apply the rules to one entry; the first that excludes it wins."""
    try:
        return _judge(raw, origins)
    except _Excluded as excluded:
        return Exclusion(raw.location, excluded.reason, excluded.detail)


def is_bundled(fields: Any) -> bool:
    return isinstance(fields, dict) and (
        fields.get("inBundle") is True or fields.get("bundled") is True
    )


def _judge(raw: RawEntry, origins: Origins) -> Wanted:
    fields = _checked_fields(raw.fields)
    if raw.folder is None:
        raise _own_folder(raw.location, origins.workspaces)
    _check_name(raw.folder)
    if fields.get("link") is True:
        target = redact_text(fields.get("resolved") or "")
        raise _Excluded("link", f"It is a link to the folder {shown(target)}.")
    integrity = _integrity(fields)
    version, resolved = fields.get("version"), fields.get("resolved") or None
    if is_bundled(fields) and not (resolved and integrity.canonical):
        raise _Excluded("bundled", "Its bytes are inside its parent's tarball.")
    for spec in (version, resolved):
        _refuse_other_sources(spec)
    wanted, url = _coordinates(raw.folder, fields.get("name"), version)
    foreign, elsewhere = _compare_resolved(resolved or url, wanted, integrity, origins.hosts)
    if wanted.name != raw.folder:
        _check_name(wanted.name)
    _check_version(wanted.version)
    return Wanted(
        entry=raw.location,
        coordinates=wanted,
        integrity=integrity,
        alias=None if raw.folder == wanted.name else raw.folder,
        dev=fields.get("dev") is True,
        # needed in production by an optional way, in development by another
        optional=fields.get("optional") is True or fields.get("devOptional") is True,
        platform_limited=bool(fields.get("os") or fields.get("cpu") or fields.get("libc")),
        license_claim=_license_claim(fields),
        foreign=foreign,
        elsewhere=elsewhere,
    )


def _checked_fields(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise _Excluded("malformed-entry", "The entry is not an object.")
    for key in ("name", "version", "integrity", "resolved", "_shasum"):
        value = fields.get(key)
        if value is None or isinstance(value, str):
            continue
        # npm 5 wrote `resolved: false` for what came out of a bundle.
        if key != "resolved" or value is not False:
            raise _Excluded("malformed-entry", f"`{key}` is not a string.")
    return fields


def _own_folder(location: str, workspaces: frozenset[str]) -> _Excluded:
    parent = location.rpartition("/")[0]
    if {location, f"{parent}/*", f"{parent}/**"} & workspaces:
        return _Excluded("workspace", "It is a workspace of the project itself.")
    return _Excluded("file", "It is a folder beside or inside the project.")


def _check_name(name: str) -> None:
    if not coordinates.valid_name(name):
        raise _Excluded("invalid-name", f"{_quote(name)} is no package name for npm.")


def _check_version(version: str) -> None:
    if not coordinates.valid_version(version):
        raise _Excluded("invalid-version", f"{_quote(version)} is not one exact semantic version.")


def _integrity(fields: dict[str, Any]) -> Integrity:
    integrity = parse_integrity(fields.get("integrity") or "")
    shasum = fields.get("_shasum")
    return parse_shasum(shasum) if integrity is NO_INTEGRITY and shasum else integrity


def _refuse_other_sources(spec: str | None) -> None:
    """Raise where a ``version`` or ``resolved`` names a source that is no registry."""
    if not spec or spec.startswith("npm:"):
        return
    match spec_kind(spec):
        case "plain" | "web":
            return
        case "git":
            raise _Excluded("git", f"It comes from the git repository {_quote(spec)}.")
        case "file":
            raise _Excluded("file", f"It is a local file or folder: {_quote(spec)}.")
        case "link":
            raise _Excluded("link", f"It is a link to a local folder: {_quote(spec)}.")
        case "strange":
            raise _Excluded("remote-tarball", f"It comes from {_quote(spec)}, no registry.")


def _coordinates(
    folder: str, name: str | None, version: str | None
) -> tuple[Coordinates, str | None]:
    """Which package an entry means, whatever it is installed as; and the URL in ``version``."""
    if not version:
        raise _Excluded("missing-version", "The entry names no version.")
    if version.startswith("npm:"):
        real, _, exact = version.removeprefix("npm:").rpartition("@")
        return Coordinates(real, exact), None
    if not version.lower().startswith("http"):
        return Coordinates(name or folder, version), None
    address = address_of(version)
    told = coordinates.of_tarball_path(address.path) if address else None
    return told or Coordinates(folder, ""), version


def _compare_resolved(
    url: str | None, wanted: Coordinates, integrity: Integrity, hosts: frozenset[str]
) -> tuple[bool, str | None]:
    """Hold ``url`` against the coordinates; it is never fetched.

    Returns:
        Whether it is on another host; and the URL, redacted, where it is the right host's address
        of another package. Either way a hash of the lock says which bytes are meant.
    """
    if url is None:
        return False, None
    address = address_of(url)
    if address is None:
        raise _Excluded("remote-tarball", f"{_quote(url)} is not an address that can be compared.")
    matches = coordinates.of_tarball_path(address.path) == wanted
    if address.origin not in hosts:
        if not integrity.pins:
            raise _Excluded(
                "foreign-origin",
                f"It was resolved at {_quote(address.origin)}, and no sha512 pins its bytes.",
            )
        if matches:
            return True, None
    elif matches:
        return False, None
    elif wanted.version and integrity.strength == "strong":
        return False, redact_url(url)
    raise _Excluded("remote-tarball", f"It comes from {_quote(url)}, no registry's address of it.")


def _quote(text: str) -> str:
    return shown(redact_text(text))


def _license_claim(fields: dict[str, Any]) -> str | None:
    """The licence as the lock words it; old manifests held lists and objects."""
    claim = fields.get("license") or fields.get("licenses")
    if isinstance(claim, str):
        return _license_word(claim)[:MAX_LICENSE_CLAIM] or None
    words = [_license_word(item) for item in (claim if isinstance(claim, list) else [claim])]
    text = " OR ".join(word for word in words if word)
    return text[:MAX_LICENSE_CLAIM] or None


def _license_word(claim: Any) -> str:
    word = claim.get("type") if isinstance(claim, dict) else claim
    return redact_text(word.strip()) if isinstance(word, str) else ""
