"""The 512 bytes before each entry of a tar, and what extended headers say of the entry after them.

Formats: POSIX.1-2017 ``pax``, and the GNU tar manual's "Basic Tar Format".
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

BLOCK: Final = 512
SPARSE: Final = b"S"
_FIELDS: Final = struct.Struct("100s 24x 12s 20x c 100s 6s 82x 155s 12x")
_USTAR: Final = b"ustar\0"
_CHECKSUM: Final = slice(148, 156)
_BLANK: Final = 8 * ord(" ")
"""The checksum is that of a header in which its own field is blank."""
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}")
_RECORD: Final = re.compile(rb"([0-9]{1,9}) ([^=]*)=", re.DOTALL)
_GNU_SPARSE: Final = b"GNU.sparse."
_LARGEST: Final = 2**62  # bytes


class Broken(Exception):
    """No header stands here, or it contradicts itself; the text says which."""


@dataclass(slots=True)
class Stated:
    """What extended headers say of the next entry; None where they say nothing."""

    path: bytes | None = None
    target: bytes | None = None
    size: int | None = None
    sparse: bool = False

    def long_name(self, content: bytes) -> None:
        """GNU's type ``L``; an extended header of pax has the last word."""
        self.path = content.split(b"\0", 1)[0]

    def long_target(self, content: bytes) -> None:
        """GNU's type ``K``."""
        self.target = content.split(b"\0", 1)[0]

    def records(self, content: bytes) -> None:
        """The records of a pax header, each ``length key=value`` and a line feed.

        Raises:
            Broken: a record is none.
        """
        at = 0
        while at < len(content):
            found = _RECORD.match(content, at)
            end = at + int(found[1]) if found else 0
            if found is None or end <= found.end() or content[end - 1 : end] != b"\n":
                raise Broken("an extended header is not made of records")
            self._take(found[2], content[found.end() : end - 1])
            at = end

    def _take(self, key: bytes, value: bytes) -> None:
        if key in {b"path", b"GNU.sparse.name"}:
            self.path = value
        elif key == b"linkpath":
            self.target = value
        elif key == b"size":
            if not _DECIMAL.fullmatch(value):
                raise Broken("an extended header states an impossible size")
            self.size = int(value)
        self.sparse |= key.startswith(_GNU_SPARSE)


@dataclass(slots=True)
class Header:
    """One header block; ``kind`` is its type byte, ``size`` what it states, in bytes."""

    name: bytes
    kind: bytes
    size: int
    target: bytes
    extended: bool
    """Of an old sparse file: a further block of its map follows."""

    @classmethod
    def of(cls, block: bytes) -> "Header":
        """Read 512 bytes.

        Raises:
            Broken: they are no header.
        """
        if not stands_at(block):
            raise Broken("no tar header stands there")
        name, size, kind, target, magic, prefix = _FIELDS.unpack(block)
        if prefix[0] and magic == _USTAR:  # elsewhere other things stand in that field
            name = _text(prefix) + b"/" + _text(name)
        extended = kind == SPARSE and block[482] != 0
        return cls(_text(name), kind, _number(size), _text(target), extended)


def stands_at(block: bytes) -> bool:
    """Whether the checksum of a header is right; some old packers added signed bytes up."""
    if len(block) < BLOCK:
        return False
    try:
        stated = _number(block[_CHECKSUM])
    except Broken:
        return False
    if stated == _sum(block) + _BLANK - sum(block[_CHECKSUM]):
        return True
    signed = memoryview(block).cast("b")
    return stated == sum(signed) + _BLANK - sum(signed[_CHECKSUM])


def _sum(block: bytes) -> int:
    """All bytes added.

    The lower half of an Adler-32 is that sum, plus one, modulo 65521 (RFC 1950): of 256 bytes it
    is always exact.
    """
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes) -> int:
    """Octal digits, or where the first bit is set the number itself, big-endian."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
        if number > _LARGEST:  # negative ones are among these
            raise Broken("a header states an impossible size")
        return number
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise Broken("a header states a size that is no number")
    return int(found[1] or b"0", 8)
