"""Fetching one package's bytes: streamed, bounded, and compared before anything may open them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from backend.workloads.packages.cache import ContentAltered, ContentMissing, ContentStore
from backend.workloads.packages.registry.errors import RegistryPermanent
from backend.workloads.packages.registry.npm import tarball_url
from backend.workloads.packages.registry.origin import Origin
from backend.workloads.packages.registry.witness import (
    Algorithm,
    Claim,
    Digests,
    claim,
    integrity_of,
    shasum_claim,
)

_ACCEPT = "application/octet-stream, */*;q=0.8"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """Bytes that are kept in the store and match every claim that was understood.

    ``checked`` is the algorithm of the expected claim that they were compared with; ``none`` = no
    usable claim. ``registry_agrees`` is None where the registry named no usable hash. ``integrity``
    is canonical SRI text, ``size`` is in bytes.
    """

    sha512_hex: str
    integrity: str
    size: int
    checked: Algorithm | Literal["none"]
    registry_agrees: bool | None
    from_cache: bool


@dataclass(frozen=True, slots=True)
class _Claims:
    what: str
    expected: Claim | None
    registry: tuple[Claim, ...]

    @property
    def algorithms(self) -> set[Algorithm]:
        claimed = (self.expected, *self.registry)
        return {"sha512", *(one.algorithm for one in claimed if one is not None)}

    def check(self, found: dict[Algorithm, bytes]) -> None:
        """Compare.

        Raises:
            RegistryPermanent: ``integrity-mismatch`` or ``registry-integrity-mismatch``.
        """
        if self.expected is not None and not self.expected.holds(found):
            raise RegistryPermanent(
                f"the bytes of {self.what} do not have the {self.expected.algorithm} "
                "that the lock file names",
                "integrity-mismatch",
            )
        for witness in self.registry:
            if not witness.holds(found):
                raise RegistryPermanent(
                    f"the bytes of {self.what} do not have the {witness.algorithm} "
                    "that the registry itself names",
                    "registry-integrity-mismatch",
                )


def download(
    origin: Origin,
    cache: ContentStore,
    name: str,
    version: str,
    *,
    expected: tuple[str, ...] | None,
    registry_integrity: str | None,
    registry_shasum: str | None,
    max_bytes: int,
) -> Downloaded:
    """Make sure that the bytes of one npm package version are in ``cache``, and that they match.

    Bytes already kept under an expected SHA-512 are hashed again and used without the network.
    ``expected`` are SRI texts of which any may match; the strongest known algorithm decides. The
    registry's own words, ``registry_integrity`` (SRI) and ``registry_shasum`` (hex SHA-1), are the
    second witness. ``max_bytes`` limits the tarball as sent.

    Raises:
        RegistryTransient: the network failed or the registry is overloaded.
        RegistryPermanent: it is missing, too large, or its bytes contradict a claim.
        ContentUnavailable: the cache cannot be used now.
    """
    witnesses = (claim([registry_integrity or ""]), shasum_claim(registry_shasum))
    claims = _Claims(
        what=f"{name}@{version}",
        expected=claim(expected or ()),
        registry=tuple(witness for witness in witnesses if witness is not None),
    )
    kept = _from_cache(cache, claims)
    if kept is not None:
        return kept
    digests = Digests(claims.algorithms)
    with cache.writer() as writer:
        url = tarball_url(origin.base_url, name, version)
        with origin.stream(url, accept=_ACCEPT, max_bytes=max_bytes) as body:
            for chunk in body:
                digests.update(chunk)
                writer.write(chunk)
        found = digests.found()
        claims.check(found)
        writer.commit()
    return _downloaded(claims, found, size=writer.size, from_cache=False)


def _from_cache(cache: ContentStore, claims: _Claims) -> Downloaded | None:
    for sha512 in _expected_sha512(claims.expected):
        try:
            content = cache.open_verified(sha512)
            cache.share(sha512)  # it may have been kept before there was a shared store
        except (ContentMissing, ContentAltered):
            continue
        digests = Digests(claims.algorithms)
        with content.getbuffer() as buffer:
            digests.update(buffer)
            size = buffer.nbytes
        found = digests.found()
        claims.check(found)
        return _downloaded(claims, found, size=size, from_cache=True)
    return None


def _expected_sha512(expected: Claim | None) -> Iterable[str]:
    if expected is None or expected.algorithm != "sha512":
        return ()
    return sorted(digest.hex() for digest in expected.digests)


def _downloaded(
    claims: _Claims,
    found: dict[Algorithm, bytes],
    *,
    size: int,
    from_cache: bool,
) -> Downloaded:
    sha512 = found["sha512"]
    return Downloaded(
        sha512_hex=sha512.hex(),
        integrity=integrity_of(sha512),
        size=size,
        checked="none" if claims.expected is None else claims.expected.algorithm,
        registry_agrees=True if claims.registry else None,
        from_cache=from_cache,
    )
