"""The bytes inside a gzip file, with every trailer checked (RFC 1952)."""

import zlib
from typing import BinaryIO, Final

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.limits import Budget
from backend.workloads.splunk.conf.stanza import Warned

_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib itself then checks the CRC-32 and the length
_CHUNK: Final = 64 * 1024


class Gunzip:
    """Forward only. Several gzip members after each other are one stream, as gzip reads them.

    Attributes:
        position: bytes taken by the reader so far.
        notices: ``trailing-data`` once something else than zeros follows the last member.
    """

    def __init__(self, source: BinaryIO, budget: Budget, notices: list[Warned]) -> None:
        self.position = 0
        self.notices = notices
        self._source = source
        self._budget = budget
        self._taken = 0
        self._pending = b""
        self._inflate: zlib._Decompress | None = zlib.decompressobj(_GZIP)
        self._ready = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end.

        Raises:
            Permanent: the gzip data is truncated, broken, or over a limit.
        """
        end = self._at + size
        if end <= len(self._ready):
            part = self._ready[self._at : end]
            self._at = end
        else:
            part = self._gather(size)
        self.position += len(part)
        return part

    def skip(self, size: int) -> int:
        """How many of ``size`` bytes there were."""
        left = size
        while left > 0:
            left -= (step := len(self.read(min(left, _CHUNK))))
            if not step:
                break
        return size - left

    def _gather(self, size: int) -> bytes:
        """Keeps no more ready than was unpacked beyond ``size``."""
        parts = [self._ready[self._at :]]
        missing = size - len(parts[0])
        self._ready, self._at = b"", 0
        while missing > 0 and self._inflate is not None:
            fresh = self._unpack(self._inflate)
            if len(fresh) > missing:
                self._ready, self._at = fresh, missing
            if fresh:  # an empty gzip member has 20 bytes: there may be millions of them
                parts.append(fresh[:missing])
                missing -= len(parts[-1])
        return b"".join(parts)

    def _unpack(self, inflate: "zlib._Decompress") -> bytes:
        if not self._pending and not self._refill():
            raise Permanent(f"truncated: the gzip data breaks off at byte {self._taken}")
        try:
            part = inflate.decompress(self._pending, _CHUNK)
        except zlib.error as error:
            raise Permanent(self._broken(error)) from None
        self._pending = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        self._budget.unpack(len(part))
        if inflate.eof:
            self._inflate = self._next()
        return part

    def _refill(self) -> bool:
        fresh = self._source.read(_CHUNK)
        self._taken += len(fresh)
        self._pending += fresh
        return bool(fresh)

    def _broken(self, error: zlib.error) -> str:
        begin = self._taken - len(self._pending)
        where = f"between byte {begin} and byte {self._taken}"
        if "incorrect data check" in str(error) or "incorrect length check" in str(error):
            return f"the gzip data does not match its CRC or length ({where})"
        return f"the gzip data is damaged {where}"

    def _next(self) -> "zlib._Decompress | None":
        while len(self._pending) < len(_MAGIC) and self._refill():
            pass
        if self._pending.startswith(_MAGIC):
            return zlib.decompressobj(_GZIP)
        while self._pending:
            if self._pending.strip(b"\0"):
                what = "bytes after the end of the gzip data are not read"
                self.notices.append(Warned("trailing-data", what))
                break
            self._pending = b""
            self._refill()
        return None
