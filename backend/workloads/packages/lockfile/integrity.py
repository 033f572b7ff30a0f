"""Subresource integrity strings, as npm locks carry them: ``sha512-BASE64 sha1-BASE64?option``."""

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Literal

Strength = Literal["strong", "weak", "none"]

# Exactly as many characters as the digest has; the last one before the padding has no stray bits.
_DIGESTS = {
    "sha512": re.compile(r"[A-Za-z0-9+/]{85}[AQgw]=="),
    "sha384": re.compile(r"[A-Za-z0-9+/]{64}"),
    "sha256": re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="),
    "sha1": re.compile(r"[A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]="),
}
_ALGORITHMS = tuple(_DIGESTS)  # strongest first
_USUAL = "sha512-"  # a single one, as current clients write it
_SHA1_HEX = re.compile(r"[0-9a-fA-F]{40}")

# Real strings hold one to four; a longer list is somebody's attempt to fill a column.
MAX_HASHES = 16


@dataclass(frozen=True, slots=True)
class Integrity:
    """What a lock says of the bytes.

    ``canonical`` is ``alg-base64`` of the strongest known algorithm; several hashes of it are
    sorted and separated by one space, and bytes may match any of them, as npm has it. ``None``
    where nothing usable was said.
    """

    canonical: str | None
    strength: Strength

    @property
    def pins(self) -> bool:
        """Whether a sha512 says which bytes are meant, whoever serves them."""
        return self.canonical is not None and self.canonical.startswith("sha512-")


NO_INTEGRITY = Integrity(None, "none")


def parse_integrity(text: str) -> Integrity:
    """The strongest known hashes of ``text``; malformed or unknown ones count as absent."""
    if text.startswith(_USUAL) and _DIGESTS["sha512"].fullmatch(text, len(_USUAL)):
        return Integrity(text, "strong")
    hashes: dict[str, set[str]] = {}
    for token in text.split():
        algorithm, _, rest = token.partition("-")
        digest = rest.partition("?")[0]
        if algorithm in _DIGESTS and _DIGESTS[algorithm].fullmatch(digest):
            hashes.setdefault(algorithm, set()).add(f"{algorithm}-{digest}")
    strongest = next((name for name in _ALGORITHMS if name in hashes), None)
    if strongest is None or len(hashes[strongest]) > MAX_HASHES:
        return NO_INTEGRITY
    strength: Strength = "weak" if strongest == "sha1" else "strong"
    return Integrity(" ".join(sorted(hashes[strongest])), strength)


def parse_shasum(text: str) -> Integrity:
    """The sha1 that locks before SRI carried as 40 hexadecimal digits."""
    if not _SHA1_HEX.fullmatch(text):
        return NO_INTEGRITY
    return Integrity(f"sha1-{b64encode(bytes.fromhex(text)).decode()}", "weak")
