"""Comparing bytes with the hashes that were claimed for them. Pure."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from backend.workloads.packages.lockfile.integrity import (
    Integrity,
    parse_integrity,
    parse_shasum,
)

Algorithm = Literal["sha512", "sha384", "sha256", "sha1"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The digests of the strongest algorithm that was named, any of which may match."""

    algorithm: Algorithm
    digests: frozenset[bytes]

    @classmethod
    def of(cls, integrity: Integrity) -> "Claim | None":
        if integrity.canonical is None:
            return None
        hashes = [hashed.partition("-") for hashed in integrity.canonical.split()]
        digests = frozenset(base64.b64decode(encoded) for _, _, encoded in hashes)
        return cls(cast("Algorithm", hashes[0][0]), digests)

    def holds(self, found: Mapping[Algorithm, bytes]) -> bool:
        return found[self.algorithm] in self.digests


def claim(texts: Iterable[str]) -> Claim | None:
    """The strongest claim that SRI texts make together; None = none that is understood."""
    return Claim.of(parse_integrity(" ".join(texts)))


def shasum_claim(shasum: str | None) -> Claim | None:
    """The claim of npm's ``dist.shasum``: SHA-1 in 40 hex digits."""
    return Claim.of(parse_shasum(shasum or ""))


def integrity_of(sha512: bytes) -> str:
    """Canonical SRI text of a SHA-512 digest."""
    return f"sha512-{base64.b64encode(sha512).decode('ascii')}"


class Digests:
    """Hashes a stream with several algorithms at once."""

    def __init__(self, algorithms: Iterable[Algorithm]) -> None:
        # A claim of SHA-1 is no security: it is marked weak wherever it is shown.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, data: bytes | memoryview) -> None:
        for running in self._hashes.values():
            running.update(data)

    def found(self) -> dict[Algorithm, bytes]:
        return {name: running.digest() for name, running in self._hashes.items()}
