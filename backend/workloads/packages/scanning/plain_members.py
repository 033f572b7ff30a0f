"""The members of a tarball as nearly every packer writes it: plain files and folders, no more.

``members`` reads every archive, with a library that knows all dialects; in a process that was just
forked most of what it costs is reaching all that code. This reads one dialect and has no opinion on
the others: at the first doubt it raises :class:`Unusual`, and the archive is read again by
``members``, which then also finds the words for what is wrong.
"""

import io
import re
import struct
import zlib
from pathlib import Path

from backend.workloads.packages.scanning.gzip_stream import GzipStream
from backend.workloads.packages.scanning.inspection import Limits
from backend.workloads.packages.scanning.members import Member, Members, package_path, too_many

_BLOCK = 512
_CHUNK = 64 * 1024
_HEADER = struct.Struct("100s 8s8s8s 12s 12s 8s c 100s 8s 64s 16s 155s 12x")  # pax(1), ustar
_NUMBERS = re.compile(rb"[0-7]*[ \0]*(?:,[0-7]*[ \0]*){7}")  # so many fields, and no other comma
_FILE, _FOLDER = b"0", b"5"
_USTAR = b"ustar\x0000"
_ZEROS = bytes(_BLOCK)
_CHECKSUM = slice(148, 156)
_BLANK = b" " * 8
"""The checksum is that of a header in which its own field is blank."""


class Unusual(Exception):
    """The archive is broken, or holds what only the library understands."""


def walk(path: str | Path, limits: Limits) -> Members:
    """As ``members.walk``, of an archive that holds nothing unusual.

    Raises:
        Unusual: ask ``members.walk``, from the start.
        InspectionError: as for ``members.walk``.
    """
    with io.FileIO(path) as raw:
        stream = GzipStream(raw, limits)
        window, count = _Window(stream), 0
        while (block := window.take(_BLOCK)) != _ZEROS:
            name, kind, size = _read(block)
            count += 1
            if count > limits.members:
                raise too_many(limits)
            content = _Content(window, size)
            yield Member(package_path(name, limits), name, kind, content.read), stream
            content.skip()
        if not count or window.holds_more_than_zeros():
            raise Unusual


def _read(header: bytes) -> tuple[str, str, int]:
    """Name, kind and size in bytes."""
    name, *owner, size, time, checksum, kind, _, magic, _, device, prefix = _HEADER.unpack(header)
    name, prefix = name.rstrip(b"\0"), prefix.rstrip(b"\0")
    if (
        not _NUMBERS.fullmatch(b",".join((*owner, size, time, checksum, device[:8], device[8:])))
        or _sum(header) != _number(checksum)
        or (magic != _USTAR and prefix)
        or b"\0" in name + prefix
    ):
        raise Unusual
    path, length = _text(prefix + b"/" + name if prefix else name), _number(size)
    if kind == _FILE and not path.endswith("/"):
        return path, "file", length
    if kind == _FOLDER and not length:
        return path.rstrip("/"), "directory", 0
    raise Unusual


def _sum(header: bytes) -> int:
    """All bytes added, the checksum's own counted as blanks.

    The lower half of an Adler-32 is that sum, plus one, modulo 65521 (RFC 1950): of 256 bytes it
    is always exact.
    """
    blanked = header[: _CHECKSUM.start] + _BLANK + header[_CHECKSUM.stop :]
    halves = zlib.adler32(blanked[:256]), zlib.adler32(blanked[256:])
    return sum((half & 0xFFFF) - 1 for half in halves)


def _number(field: bytes) -> int:
    return int(field.rstrip(b" \0") or b"0", 8)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Unusual from None


class _Window:
    """What was unpacked and not yet taken; never much more than is asked for at once."""

    def __init__(self, stream: GzipStream) -> None:
        self._stream = stream
        self._bytes = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes, at most :data:`_CHUNK`."""
        while len(self._bytes) - self._at < size:
            fresh = self._stream.read(_CHUNK)
            if not fresh:
                raise Unusual
            self._bytes = self._bytes[self._at :] + fresh
            self._at = 0
        begin = self._at
        self._at += size
        return self._bytes[begin : self._at]

    def holds_more_than_zeros(self) -> bool:
        """To the end of the stream, whose trailer is checked so."""
        rest = self._bytes[self._at :]
        while rest:
            if rest.strip(b"\0"):
                return True
            rest = self._stream.read(_CHUNK)
        return False


class _Content:
    def __init__(self, window: _Window, size: int) -> None:
        self._window = window
        self._left = size
        self._padding = -size % _BLOCK

    def read(self, size: int) -> bytes:
        part = self._window.take(min(size, self._left, _CHUNK))
        self._left -= len(part)
        return part

    def skip(self) -> None:
        """To the next header."""
        left = self._left + self._padding
        while left:
            left -= len(self._window.take(min(left, _CHUNK)))
