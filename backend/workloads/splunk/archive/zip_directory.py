"""The central directory of a zip and the headers that it must agree with.

Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 to 4.3.16.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from backend.queue.retry import Permanent

PIECE: Final = 64 * 1024
_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\5\6"
_LOCATOR: Final = struct.Struct("<4sLQL")
_LOCATOR_MAGIC: Final = b"PK\6\7"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC: Final = b"PK\6\6"
_LISTED: Final = struct.Struct("<4s6H3L5H2L")
_LISTED_MAGIC: Final = b"PK\1\2"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC: Final = b"PK\3\4"
_COMMENT: Final = 65_535  # bytes
_IN_ZIP64: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF
_ZIP64: Final = 1  # the extra field's id
_SIZES_FOLLOW: Final = 8  # flag: the local header has no sizes, they follow the content
_ENTRY_BITS: Final = 0x0041  # flags that must be equal in both headers: encryption


class Window:
    """Random access to a file, by pieces: neighbours cost one reading."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self.size = size
        self._source = source
        self._pieces: list[tuple[int, bytes]] = [(0, b""), (0, b"")]

    def read(self, begin: int, size: int) -> bytes:
        """``size`` bytes, fewer at the file's end."""
        for at, piece in self._pieces:
            if at <= begin and begin + size <= at + len(piece):
                return piece[begin - at : begin - at + size]
        # From a round number on: a hostile archive may list its members backwards.
        at = begin - begin % PIECE
        self._source.seek(at)
        piece = self._source.read(max(begin + size - at, PIECE))
        # Two pieces: the directory is gone through while the members are read.
        self._pieces = [(at, piece), self._pieces[0]]
        return piece[begin - at : begin - at + size]


@dataclass(slots=True)
class Listed:
    """One entry of the directory; sizes in bytes, ``offset`` counted from the file's begin."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    made_by: int
    attributes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the directory lies.

    Attributes:
        begin: its first byte, and the first that is no member's.
        end: the first byte behind it.
        count: of its entries, as stated.
        shift: bytes before the archive, which its own offsets leave out.
        trailing: bytes behind the archive.
    """

    window: Window
    begin: int
    end: int
    count: int
    shift: int
    trailing: int

    @classmethod
    def of(cls, window: Window) -> "Directory":
        """Find it from the file's end.

        Raises:
            Permanent: the zip is truncated, or in several volumes.
        """
        at = _end_record(window)
        fields = _END.unpack(window.read(at, _END.size))
        disk, first_disk, _, count, size, offset, comment = fields[1:]
        trailing = window.size - at - _END.size - comment
        if {disk, first_disk} - {0, _MANY}:
            raise Permanent("the zip is split into several volumes")
        behind, count, size, offset = _end_record64(window, at, (count, size, offset))
        shift = behind - size - offset
        if shift < 0:
            raise Permanent(f"the zip is damaged: its directory is not where byte {at} says")
        return cls(window, behind - size, behind, count, shift, trailing)

    def entries(self) -> Iterator[Listed]:
        at, count = self.begin, 0
        while at < self.end:
            block = self.window.read(at, _LISTED.size)
            if len(block) < _LISTED.size or block[:4] != _LISTED_MAGIC:
                raise Permanent(f"the zip's directory is damaged at byte {at}")
            size = sum(struct.unpack_from("<3H", block, 28))  # of name, extra fields and comment
            block += self.window.read(at + _LISTED.size, size)
            at += _LISTED.size + size
            if at > self.end or len(block) < _LISTED.size + size:
                raise Permanent(f"the zip's directory breaks off at byte {self.end}")
            count += 1
            yield self._listed(block, count)
        if count != self.count and count & _MANY != self.count:
            raise Permanent(f"the zip's directory lists {count} members and states {self.count}")

    def _listed(self, block: bytes, number: int) -> Listed:
        fields = _LISTED.unpack_from(block)
        _, made, _, flags, method, _, _, crc, packed, size, names, extras, *_ = fields
        attributes, offset = fields[-2:]
        begin = _LISTED.size + names
        wide = _wide(block[begin : begin + extras])
        size, wide = _widened(size, wide, number)
        packed, wide = _widened(packed, wide, number)
        offset, wide = _widened(offset, wide, number)
        name = block[_LISTED.size : begin]
        return Listed(
            name, flags, method, crc, packed, size, made >> 8, attributes, offset + self.shift
        )


def ends_as_zip(source: BinaryIO) -> bool:
    """Whether a zip with members stands at the end of a file, which is left at its begin."""
    window = Window(source, source.seek(0, io.SEEK_END))
    try:
        directory = Directory.of(window)
    except Permanent:
        return False
    finally:
        source.seek(0)
    return directory.count > 0 and window.read(directory.begin, 4) == _LISTED_MAGIC


def local_header(window: Window, directory: Directory, listed: Listed, number: int) -> int:
    """Where the content of a listed entry begins.

    Raises:
        Permanent: its own header is not there or says something else than the directory.
    """
    block = window.read(listed.offset, _LOCAL.size)
    if listed.offset >= directory.begin or block[:4] != _LOCAL_MAGIC:
        raise Permanent(f"the zip is damaged: member {number} is not at byte {listed.offset}")
    _, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL.unpack(block)
    begin: int = listed.offset + _LOCAL.size
    name = window.read(begin, names)
    extra = window.read(begin + names, extras)
    bits = (flags ^ listed.flags) & _ENTRY_BITS
    differs = name != listed.name or method != listed.method or bits
    if not flags & _SIZES_FOLLOW and not differs:
        wide = _wide(extra)
        size, wide = _widened(size, wide, number)
        packed, wide = _widened(packed, wide, number)
        differs = (crc, packed, size) != (listed.crc, listed.packed, listed.size)
    if differs:
        raise Permanent(
            f"the zip contradicts itself: the directory and byte {listed.offset}"
            f" differ on member {number}"
        )
    return begin + int(names + extras)


def _end_record(window: Window) -> int:
    """Where the last record is that fits into the file."""
    begin = max(0, window.size - _COMMENT - _END.size)
    tail = window.read(begin, window.size - begin)
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        if len(tail) - at >= _END.size:
            comment: int = _END.unpack_from(tail, at)[-1]
            if at + _END.size + comment <= len(tail):
                return begin + at
        at = tail.rfind(_END_MAGIC, 0, at)
    raise Permanent("truncated: the zip's directory, which stands at its end, is missing")


def _end_record64(
    window: Window, end: int, narrow: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    """Where the directory ends, and its count, size and offset.

    Some packers write the wide record also where every narrow number would do.
    """
    block = window.read(max(0, end - _LOCATOR.size), _LOCATOR.size)
    if end < _LOCATOR.size or block[:4] != _LOCATOR_MAGIC:
        return (end, *narrow)
    # The record stands before its locator; the offset that the locator states leaves out what
    # may stand before the archive.
    at = end - _LOCATOR.size - _END64.size
    block = window.read(max(0, at), _END64.size)
    if at < 0 or block[:4] != _END64_MAGIC:
        raise Permanent(f"the zip is damaged: its directory's end is not at byte {at}")
    disk, first_disk, _, count, size, offset = _END64.unpack(block)[4:]
    if disk or first_disk:
        raise Permanent("the zip is split into several volumes")
    unknown = (_MANY, _IN_ZIP64, _IN_ZIP64)
    pairs = zip(narrow, (count, size, offset), unknown, strict=True)
    if any(short not in {wide, stands_in} for short, wide, stands_in in pairs):
        raise Permanent(f"the zip contradicts itself: its ends differ at bytes {at} and {end}")
    return at, count, size, offset


def _wide(extra: bytes) -> bytes:
    """The eight-byte numbers of a ZIP64 extra field, if there is one."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _widened(number: int, wide: bytes, number_of: int) -> tuple[int, bytes]:
    """The number itself or the next of the wide ones, and what is left of these."""
    if number != _IN_ZIP64:
        return number, wide
    if len(wide) < 8:  # noqa: PLR2004 - bytes of one number
        raise Permanent(f"the zip is damaged: the size of member {number_of} is missing")
    return int.from_bytes(wide[:8], "little"), wide[8:]
