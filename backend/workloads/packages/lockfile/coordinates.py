"""npm's rules for names and exact versions, and the coordinates hidden in a tarball's URL."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from packageurl import PackageURL

MAX_NAME = 214  # characters, scope included
MAX_VERSION = 256  # characters
_MAX_NUMBER = 2**53 - 1  # beyond it npm's own numbers are not exact
_MAX_DIGITS = len(str(_MAX_NUMBER))

# What encodeURIComponent leaves alone. New names are stricter, old packages are not.
_NAME = re.compile(
    r"(?:@(?![.])[\w.~!*'()-]+/(?![.])[\w.~!*'()-]+|(?![._])[\w.~!*'()-]+)", re.ASCII
)
_RESERVED = frozenset({"node_modules", "favicon.ico"})

# semver.org's grammar of one exact version; ASCII digits only.
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)

# Names and versions that a package URL repeats as they are.
_PLAIN_NAME = re.compile(r"(?:@([a-z0-9._-]+)/)?([a-z0-9._-]+)")
_PLAIN_VERSION = re.compile(r"[0-9A-Za-z.-]+")

# PREFIX/NAME/-/BASENAME-VERSION.tgz; some registries repeat the scope in the file's name.
_TARBALL_PATH = re.compile(
    r"(?:^|/)((?:@[^/]+/)?([^/@][^/]*))/-/(?:@[^/]+/)?([^/]+)\.tgz", re.IGNORECASE
)
# .../download/NAME/VERSION/HASH, the other form that npm registries use.
_DOWNLOAD_PATH = re.compile(r"/download/((?:@[^/]+/)?[^/@][^/]*)/([^/]+)/[0-9a-f]{40,128}")


class Coordinates(NamedTuple):
    name: str
    version: str


def valid_name(name: str) -> bool:
    return len(name) <= MAX_NAME and bool(_NAME.fullmatch(name)) and name.lower() not in _RESERVED


def valid_version(version: str) -> bool:
    """Whether ``version`` is one exact semantic version that npm could install."""
    if len(version) > MAX_VERSION:
        return False
    match = _VERSION.fullmatch(version)
    if match is None:
        return False
    # No number of so few digits is too large.
    return len(version) < _MAX_DIGITS or all(
        int(number) <= _MAX_NUMBER for number in match.groups()
    )


def of_tarball_path(path: str) -> Coordinates | None:
    """What a registry serves at ``path`` (percent-encoded), if that has a registry's form."""
    path = unquote(path)
    if match := _TARBALL_PATH.search(path):
        name, base, stem = match.groups()
        if match.end() == len(path) and stem.startswith(f"{base}-"):
            return Coordinates(name, stem[len(base) + 1 :])
    if match := _DOWNLOAD_PATH.search(path):
        return Coordinates(match[1], match[2]) if match.end() == len(path) else None
    return None


def tarball_path(name: str, version: str) -> str:
    """Where an npm registry serves a tarball, below its base URL; for names that are valid."""
    file = f"{name.rpartition('/')[2]}-{version}.tgz"
    return f"{quote(name, safe='@/')}/-/{quote(file, safe='')}"


def npm_purl(name: str, version: str) -> str:
    """The package URL; the purl specification lower-cases npm names, so it is no identity."""
    plain = _PLAIN_NAME.fullmatch(name)
    if plain is None or not _PLAIN_VERSION.fullmatch(version):
        return _encoded_purl(name, version)
    scope, base = plain.groups()
    return f"pkg:npm/%40{scope}/{base}@{version}" if scope else f"pkg:npm/{base}@{version}"


@lru_cache(maxsize=8192)
def _encoded_purl(name: str, version: str) -> str:
    scope, _, base = name.rpartition("/")
    return PackageURL("npm", scope or None, base, version).to_string()
