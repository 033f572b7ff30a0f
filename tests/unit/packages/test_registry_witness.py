import hashlib

import pytest

from backend.workloads.packages.registry.witness import (
    Algorithm,
    Digests,
    claim,
    integrity_of,
    shasum_claim,
)
from tests.registry_server import integrity

GOOD, OTHER = b"good bytes", b"other bytes"


def found(content: bytes = GOOD) -> dict[Algorithm, bytes]:
    digests = Digests(("sha512", "sha384", "sha256", "sha1"))
    digests.update(content)
    return digests.found()


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "sha256", "sha1"])
def test_a_claim_of_each_known_algorithm_is_compared(algorithm: str) -> None:
    claimed = claim([integrity(GOOD, algorithm)])
    assert claimed is not None
    assert claimed.algorithm == algorithm
    assert claimed.holds(found())
    assert not claimed.holds(found(OTHER))


def test_the_strongest_algorithm_decides_even_against_a_weaker_match() -> None:
    claimed = claim([f"{integrity(GOOD, 'sha1')} {integrity(OTHER)} {integrity(GOOD, 'sha256')}"])
    assert claimed is not None
    assert not claimed.holds(found())


def test_any_digest_of_the_strongest_algorithm_may_match() -> None:
    claimed = claim([integrity(OTHER), f"{integrity(GOOD)} {integrity(b'third')}"])
    assert claimed is not None
    assert claimed.holds(found())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha512",
        "sha512-",
        "sha512-!!!!",
        "sha512-AAAA",
        "sha512-é",
        "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
        "SHA512-" + "A" * 86 + "==",
        hashlib.sha512(GOOD).hexdigest(),
    ],
)
def test_a_malformed_or_unknown_claim_counts_as_none(text: str) -> None:
    assert claim([text]) is None


def test_a_malformed_stronger_claim_leaves_the_weaker_one() -> None:
    claimed = claim([f"sha512-broken {integrity(GOOD, 'sha256')}"])
    assert claimed is not None
    assert claimed.algorithm == "sha256"


def test_options_of_a_claim_are_ignored() -> None:
    claimed = claim([integrity(GOOD) + "?ct=application/gzip"])
    assert claimed is not None
    assert claimed.holds(found())


def test_a_shasum_is_forty_hex_digits_or_counts_as_none() -> None:
    claimed = shasum_claim(hashlib.sha1(GOOD).hexdigest())
    assert claimed is not None
    assert claimed.holds(found())
    assert [shasum_claim(text) for text in (None, "", "xyz", "abcd")] == [None] * 4


def test_our_own_integrity_is_canonical() -> None:
    assert integrity_of(hashlib.sha512(GOOD).digest()) == integrity(GOOD)
