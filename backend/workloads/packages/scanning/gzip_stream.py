"""A gzip reader that counts real bytes, checks every trailer and accepts nothing behind it."""

import zlib
from typing import BinaryIO

from backend.workloads.packages.scanning.inspection import InspectionError, Limits

_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS  # zlib parses header and trailer itself: CRC-32 and length are checked
_CHUNK = 64 * 1024


class GzipStream:
    """Read-only, forward-only view of the bytes inside a gzip file (RFC 1952).

    Several members after each other are one stream, as npm reads them. Zero padding after the last
    one is accepted; anything else is refused, because readers disagree on what it means.

    Raises (from ``read``):
        InspectionError: ``not-gzip``, ``crc``, ``truncated``, ``trailing-data``, ``too-large``.
    """

    def __init__(self, raw: BinaryIO, limits: Limits) -> None:
        self._raw = raw
        self._limits = limits
        self._pending = raw.read(_CHUNK)
        if not self._pending.startswith(_MAGIC):
            raise InspectionError("not-gzip", "the file does not start like a gzip file")
        self._inflate: zlib._Decompress | None = zlib.decompressobj(_GZIP)
        self.compressed = len(self._pending)
        self.unpacked = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer only at the end."""
        parts: list[bytes] = []
        missing = size
        while missing > 0 and self._inflate is not None:
            part = self._step(self._inflate, missing)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _step(self, inflate: "zlib._Decompress", size: int) -> bytes:
        if not self._pending and not self._refill():
            raise InspectionError("truncated", "the gzip stream ends before its trailer")
        try:
            part = inflate.decompress(self._pending, size)
        except zlib.error as error:
            broken = "incorrect" in str(error) and "header" not in str(error)
            what = "does not match its checksum" if broken else "cannot be decompressed"
            raise InspectionError("crc", f"the gzip stream {what}") from None
        self._pending = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        self._count(len(part))
        if inflate.eof:
            self._inflate = self._next_member()
        return part

    def _refill(self) -> bool:
        self._pending = self._raw.read(_CHUNK)
        self.compressed += len(self._pending)
        return bool(self._pending)

    def _count(self, fresh: int) -> None:
        self.unpacked += fresh
        limits = self._limits
        if self.unpacked > limits.unpacked_bytes:
            raise InspectionError("too-large", f"more than {limits.unpacked_bytes} bytes unpacked")
        if (
            self.unpacked > limits.ratio_applies_above
            and self.unpacked > limits.ratio * self.compressed
        ):
            raise InspectionError("too-large", f"it unpacks to over {limits.ratio} times its size")

    def _next_member(self) -> "zlib._Decompress | None":
        if len(self._pending) < len(_MAGIC):
            more = self._raw.read(_CHUNK)
            self.compressed += len(more)
            self._pending += more
        if self._pending.startswith(_MAGIC):
            return zlib.decompressobj(_GZIP)
        while self._pending:
            if self._pending.strip(b"\0"):
                raise InspectionError("trailing-data", "there are bytes after the gzip stream")
            self._refill()
        return None
