import io
import itertools
import random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.storage.encryption import (
    CHUNK,
    MasterKey,
    Undecipherable,
    decrypted,
    encrypted,
    new_key,
)

KEY = bytes(range(32))
SEALED = CHUNK + 16
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 77)


def plain_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def sealed_of(plain: bytes, key: bytes = KEY, *, piece: int = 40_000) -> bytes:
    pieces = (plain[at : at + piece] for at in range(0, len(plain), piece))
    return b"".join(encrypted(pieces, key))


def read(sealed: bytes, key: bytes = KEY) -> bytes:
    with decrypted(io.BytesIO(sealed), key) as stream:
        return stream.read()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_encrypted_reads_back(size: int) -> None:
    plain = plain_of(size)
    sealed = sealed_of(plain)

    assert read(sealed) == plain
    assert len(sealed) == size + 16 * max(1, -(-size // CHUNK))
    assert size < 16 or plain[:16] not in sealed


@pytest.mark.parametrize("piece", [1000, CHUNK, CHUNK + 1, 10 * CHUNK])
def test_the_same_bytes_make_the_same_blob_however_they_come(piece: int) -> None:
    plain = plain_of(3 * CHUNK)
    assert sealed_of(plain, piece=piece) == sealed_of(plain)


def test_pieces_are_sealed_as_they_come_and_not_held() -> None:
    endless = itertools.repeat(b"x" * CHUNK)
    sealed = encrypted(endless, KEY)

    assert [len(next(sealed)) for _ in range(3)] == [SEALED] * 3


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    steps=st.lists(st.tuples(st.integers(0, 4 * CHUNK), st.integers(0, 2 * CHUNK)), max_size=6),
)
def test_any_place_reads_as_in_the_plain_bytes(size: int, steps: list[tuple[int, int]]) -> None:
    plain = plain_of(size)
    known = io.BytesIO(plain)
    with decrypted(io.BytesIO(sealed_of(plain)), KEY) as stream:
        for place, length in steps:
            assert stream.seek(place) == known.seek(place)
            assert stream.read(length) == known.read(length)
            assert stream.tell() == known.tell()
        assert stream.seek(0, io.SEEK_END) == size
        assert stream.read() == b""


THREE = sealed_of(plain_of(3 * CHUNK))
TAMPERED = {
    "a bit flipped in the first chunk": b"\x01" + THREE[1:]
    if THREE[0] != 1
    else b"\x02" + THREE[1:],
    "a bit flipped in the last tag": THREE[:-1] + bytes([THREE[-1] ^ 1]),
    "cut within a chunk": THREE[:-100],
    "cut between two chunks": THREE[: 2 * SEALED],
    "the first chunk cut off": THREE[SEALED:],
    "two chunks exchanged": THREE[SEALED : 2 * SEALED] + THREE[:SEALED] + THREE[2 * SEALED :],
    "a chunk repeated": THREE[:SEALED] + THREE,
    "bytes added": THREE + b"!",
    "a whole blob added": THREE + THREE,
    "nothing left": b"",
    "less than a tag left": THREE[:9],
}


@pytest.mark.parametrize("tampering", TAMPERED)
def test_bytes_that_were_altered_moved_cut_or_added_are_noticed(tampering: str) -> None:
    with pytest.raises(Undecipherable):
        read(TAMPERED[tampering])


@pytest.mark.parametrize(
    "tampering",
    ["cut within a chunk", "cut between two chunks", "bytes added", "a whole blob added"],
)
def test_another_length_is_noticed_before_anything_is_read(tampering: str) -> None:
    with pytest.raises(Undecipherable):
        decrypted(io.BytesIO(TAMPERED[tampering]), KEY)


def test_another_key_reads_nothing() -> None:
    with pytest.raises(Undecipherable):
        read(THREE, new_key())


def test_closing_the_reader_closes_what_it_reads() -> None:
    source = io.BytesIO(THREE)
    decrypted(source, KEY).close()
    assert source.closed


def test_a_data_key_is_unwrapped_by_the_same_secret_for_the_same_blob_alone() -> None:
    master, key = MasterKey("the secret of the house, long enough"), new_key()
    wrapped = master.wrap(key, "one")

    assert master.unwrap(wrapped, "one") == key
    assert key not in wrapped
    assert master.wrap(key, "one") != wrapped
    for other, context in (
        (master, "two"),
        (MasterKey("another secret of the house, as long"), "one"),
    ):
        with pytest.raises(Undecipherable):
            other.unwrap(wrapped, context)
    for broken in (b"", wrapped[:-1], wrapped[1:], wrapped[:5]):
        with pytest.raises(Undecipherable):
            master.unwrap(broken, "one")


def test_keys_for_several_purposes_are_strangers_to_each_other() -> None:
    master = MasterKey("s" * 32)
    keys = [
        master.derived("masking"),
        master.derived("wrapping"),
        MasterKey("t" * 32).derived("masking"),
    ]

    assert len(set(keys)) == 3
    assert all(len(key) == 32 for key in keys)
    assert master.derived("masking") == MasterKey("s" * 32).derived("masking")


def test_every_blob_has_a_key_of_its_own() -> None:
    assert new_key() != new_key()
    assert len(AESGCM.generate_key(256)) == len(new_key())
