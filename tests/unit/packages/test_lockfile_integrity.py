from base64 import b64encode
from hashlib import sha1, sha256, sha384, sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.workloads.packages.lockfile.integrity import (
    MAX_HASHES,
    NO_INTEGRITY,
    parse_integrity,
    parse_shasum,
)


def sri(algorithm: str, content: bytes = b"") -> str:
    digest = {"sha1": sha1, "sha256": sha256, "sha384": sha384, "sha512": sha512}[algorithm]
    return f"{algorithm}-{b64encode(digest(content).digest()).decode()}"


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "sha256", "sha1"])
def test_every_known_algorithm_is_canonical_as_it_is(algorithm: str) -> None:
    parsed = parse_integrity(sri(algorithm))
    assert parsed.canonical == sri(algorithm)
    assert parsed.strength == ("weak" if algorithm == "sha1" else "strong")
    assert parsed.pins == (algorithm == "sha512")


def test_the_strongest_algorithm_decides_in_whatever_order_and_space_they_come() -> None:
    text = f"  {sri('sha1')}\n{sri('sha512')}?opt=1 \t{sri('sha256')} md5-XUFAKrxLKna5cZ2REBfFkg=="
    assert parse_integrity(text).canonical == sri("sha512")
    assert parse_integrity(f"{sri('sha1')} {sri('sha384')} {sri('sha256')}") == parse_integrity(
        sri("sha384")
    )


def test_several_hashes_of_the_strongest_algorithm_are_all_kept_sorted_and_once() -> None:
    one, two = sorted([sri("sha512", b"1"), sri("sha512", b"2")])
    assert parse_integrity(f"{two} {one} {two}").canonical == f"{one} {two}"


def test_one_malformed_hash_of_several_leaves_the_good_one() -> None:
    assert parse_integrity(f"sha512-AAAA {sri('sha1')}").canonical == sri("sha1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "sha512",
        "sha512-",
        "sha512-AAAA",
        "md5-XUFAKrxLKna5cZ2REBfFkg==",
        "sha3-512-" + "A" * 86 + "==",
        "SHA512-" + "A" * 86 + "==",
        "sha512-" + "A" * 85 + "B==",  # stray bits in the last character
        "sha512-" + "A" * 88,
        "sha512-" + "A" * 84 + "-_==",
        "sha256-" + "A" * 86 + "==",
        sri("sha1").rstrip("="),
    ],
)
def test_malformed_or_unknown_integrity_counts_as_none(text: str) -> None:
    assert parse_integrity(text) == NO_INTEGRITY


def test_a_flood_of_hashes_counts_as_none() -> None:
    hashes = [sri("sha512", bytes([number])) for number in range(MAX_HASHES + 1)]
    assert parse_integrity(" ".join(hashes)) == NO_INTEGRITY
    assert parse_integrity(" ".join(hashes[1:])).pins


def test_a_hexadecimal_shasum_is_the_same_hash() -> None:
    assert parse_shasum(sha1(b"x").hexdigest().upper()).canonical == sri("sha1", b"x")
    assert parse_shasum("abc") == NO_INTEGRITY
    assert parse_shasum("g" * 40) == NO_INTEGRITY


@given(st.text())
def test_any_text_has_an_integrity_that_reads_as_itself(text: str) -> None:
    parsed = parse_integrity(text)
    assert parsed == (parse_integrity(parsed.canonical) if parsed.canonical else NO_INTEGRITY)
