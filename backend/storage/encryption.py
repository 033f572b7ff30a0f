"""Encryption of a blob by a key of its own, which is stored wrapped by the house's key.

A blob is a row of chunks: AES-256-GCM over 64 KiB of plain bytes each, the last one shorter or as
long, so that any place in it can be read alone. The nonce is the chunk's number, which is sound
because every blob has a fresh key; number and "this is the last" are authenticated, so that bytes
which were altered, moved, cut off or added are noticed (after STREAM: Hoang, Reyhanitabar, Rogaway,
Vizár, 2015).
"""

import io
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK: Final = 64 * 1024  # plain bytes
KEY_BYTES: Final = 32

_TAG: Final = 16
_NONCE: Final = 12
_SEALED: Final = CHUNK + _TAG
_CONTINUES, _LAST = b"\0", b"\1"
_PURPOSE: Final = b"lockkeeper "


class Undecipherable(Exception):
    """The bytes were altered or cut, or another key encrypted them; which, nobody can tell."""


class MasterKey:
    """The house's key: wraps the keys of blobs, and gives other keys for named purposes.

    Args:
        secret: from the settings, as it is; what is used follows from it by HKDF (RFC 5869).
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def derived(self, purpose: str) -> bytes:
        """32 bytes that are the same for the same purpose and tell nothing of any other's."""
        kdf = HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE + purpose.encode())
        return kdf.derive(self._secret)

    def wrap(self, data_key: bytes, context: str) -> bytes:
        """The key of a blob, fit to be stored; only the same ``context`` unwraps it."""
        nonce = os.urandom(_NONCE)
        return nonce + self._wrapping().encrypt(nonce, data_key, context.encode())

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """What was wrapped.

        Raises:
            Undecipherable: another secret or context wrapped it, or it was altered.
        """
        nonce, sealed = wrapped[:_NONCE], wrapped[_NONCE:]
        try:
            return self._wrapping().decrypt(nonce, sealed, context.encode())
        except (InvalidTag, ValueError):
            raise Undecipherable("the key of these bytes is not wrapped by this key") from None

    def _wrapping(self) -> AESGCM:
        return AESGCM(self.derived("wrapping"))


def new_key() -> bytes:
    """A key for exactly one blob: a second one under it would repeat nonces."""
    return AESGCM.generate_key(8 * KEY_BYTES)


def encrypted(chunks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """The bytes of ``chunks``, of any lengths, as one encrypted blob; at least one chunk."""
    cipher = AESGCM(key)
    number = 0
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        # A full chunk waits for what follows it: it may be the last.
        whole = (len(waiting) - 1) // CHUNK if waiting else 0
        for place in range(whole):
            piece = bytes(waiting[place * CHUNK : (place + 1) * CHUNK])
            yield cipher.encrypt(_nonce(number), piece, _CONTINUES)
            number += 1
        del waiting[: whole * CHUNK]
    yield cipher.encrypt(_nonce(number), bytes(waiting), _LAST)


def decrypted(source: BinaryIO, key: bytes) -> BinaryIO:
    """The plain bytes of a blob, to be read and sought in; closing it closes ``source``.

    Args:
        source: the whole blob, seekable.
        key: that it was encrypted by.

    Raises:
        Undecipherable: also from every later read that meets such bytes.
    """
    return io.BufferedReader(_Decrypting(source, key), CHUNK)


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE, "big")


class _Decrypting(io.RawIOBase):
    """Holds one chunk in memory: the one that was read last."""

    def __init__(self, source: BinaryIO, key: bytes) -> None:
        super().__init__()
        self._source = source
        self._cipher = AESGCM(key)
        length = source.seek(0, io.SEEK_END)
        if not length:
            raise Undecipherable("an encrypted blob is never empty")
        self._chunks = -(-length // _SEALED)
        self._size = length - self._chunks * _TAG
        self._place = 0
        self._held = (-1, b"")
        # The last chunk vouches for the length of all: what was cut off is noticed before a read.
        self._chunk(self._chunks - 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if self._place >= self._size:
            return 0
        number, begin = divmod(self._place, CHUNK)
        wanted = memoryview(buffer).cast("B")
        piece = self._chunk(number)[begin : begin + len(wanted)]
        wanted[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        self._source.close()
        super().close()

    def _chunk(self, number: int) -> bytes:
        if self._held[0] == number:
            return self._held[1]
        self._source.seek(number * _SEALED)
        flag = _LAST if number == self._chunks - 1 else _CONTINUES
        try:
            plain = self._cipher.decrypt(_nonce(number), self._source.read(_SEALED), flag)
        except (InvalidTag, ValueError):
            raise Undecipherable(
                f"the encrypted bytes were altered, or have another key (chunk {number})"
            ) from None
        self._held = (number, plain)
        return plain
