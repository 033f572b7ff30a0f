"""A zip archive, read by its central directory without believing it.

Format: PKWARE's APPNOTE 6.3.10. The directory is gone through piece by piece, so that its entries
are never all in memory.
"""

import stat
import zlib
from array import array
from collections.abc import Iterator
from typing import BinaryIO, Final

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.entry import Entry, EntryKind
from backend.workloads.splunk.archive.limits import Budget
from backend.workloads.splunk.archive.naming import shortened
from backend.workloads.splunk.archive.zip_directory import (
    PIECE,
    Directory,
    Listed,
    Window,
    local_header,
)
from backend.workloads.splunk.conf.stanza import Warned

_STORED, _DEFLATED, _AES = 0, 8, 99
_ENCRYPTED: Final = 0x2041  # bit 0: content, bit 6: strong, bit 13: directory
_UTF8: Final = 0x800
_DESCRIPTOR: Final = 24  # bytes that may follow a member's content: its CRC and sizes
_UNIX: Final = frozenset((3, 19))  # of "version made by": Unix, macOS
_TARGET_BYTES: Final = 4096
_KINDS: Final = {
    stat.S_IFLNK: EntryKind.SYMBOLIC_LINK,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFCHR: EntryKind.DEVICE,
    stat.S_IFBLK: EntryKind.DEVICE,
    stat.S_IFSOCK: EntryKind.DEVICE,
    stat.S_IFDIR: EntryKind.FOLDER,
}


class ZipReader:
    """A :class:`~backend.workloads.splunk.archive.entry.Reader` of a zip of ``size`` bytes."""

    def __init__(self, source: BinaryIO, size: int, budget: Budget, notices: list[Warned]) -> None:
        self.notices = notices
        self._window = Window(source, size)
        self._budget = budget

    def entries(self) -> Iterator[Entry]:
        directory = Directory.of(self._window)
        self._notice(directory)
        spans = _Spans()
        for number, listed in enumerate(directory.entries(), start=1):
            self._budget.meet()
            name = _name(listed)
            if listed.flags & _ENCRYPTED or listed.method == _AES:
                raise Permanent(f"the zip is encrypted (member {number}, {shortened(name)})")
            begin = local_header(self._window, directory, listed, number)
            spans.add(listed.offset, begin + listed.packed)
            self._budget.unpack(listed.size)
            yield self._entry(name, listed, begin)
        if unlisted := spans.check(directory):
            what = f"{unlisted} bytes that belong to no listed member are not read"
            self.notices.append(Warned("unlisted-data", what))

    def _notice(self, directory: Directory) -> None:
        if directory.trailing:
            what = f"{directory.trailing} bytes after the end of the zip are not read"
            self.notices.append(Warned("trailing-data", what))
        if directory.shift:
            what = f"{directory.shift} bytes before the begin of the zip are not read"
            self.notices.append(Warned("leading-data", what))

    def _entry(self, name: str, listed: Listed, begin: int) -> Entry:
        kind = _kind(name, listed)
        if kind is EntryKind.FOLDER and listed.size:
            return Entry(name, EntryKind.UNSUPPORTED, listed.size, "a folder with content")
        if kind not in {EntryKind.FILE, EntryKind.SYMBOLIC_LINK}:
            return Entry(name, kind, listed.size)
        if listed.method not in {_STORED, _DEFLATED}:
            why = f"its compression method is {listed.method}"
            return Entry(name, EntryKind.UNSUPPORTED, listed.size, why)
        content = _Content(self._window, begin, listed, shortened(name))
        if kind is EntryKind.SYMBOLIC_LINK:
            target = content.read(_TARGET_BYTES).decode("utf-8", "surrogateescape")
            return Entry(name, kind, listed.size, target)
        return Entry(name, kind, listed.size, "", content.read)


def _name(listed: Listed) -> str:
    r"""UTF-8 where it can be that, for many packers do not set its flag; else code page 437.

    The format knows no separator but ``/``; a ``\`` is one of a packer that did not know.
    """
    try:
        name = listed.name.decode()
    except UnicodeDecodeError:
        stated = bool(listed.flags & _UTF8)
        name = listed.name.decode("utf-8" if stated else "cp437", "surrogateescape")
    return name.replace("\\", "/")


def _kind(name: str, listed: Listed) -> EntryKind:
    if listed.made_by in _UNIX and (mode := stat.S_IFMT(listed.attributes >> 16)):
        kind = _KINDS.get(mode, EntryKind.FILE)
        if kind is not EntryKind.FILE:
            return kind
    return EntryKind.FOLDER if name.endswith("/") else EntryKind.FILE


class _Spans:
    """Where the entries lie: in a bomb they lie over each other."""

    def __init__(self) -> None:
        self._begins = array("Q")
        self._ends = array("Q")

    def add(self, begin: int, end: int) -> None:
        self._begins.append(begin)
        self._ends.append(end)

    def check(self, directory: Directory) -> int:
        """How many bytes lie between the members, where others may have been.

        Raises:
            Permanent: two members overlap, or one reaches into the directory.
        """
        reached, between = directory.shift, 0
        for begin, end in sorted(zip(self._begins, self._ends, strict=True)):
            if begin < reached:
                raise Permanent(f"the zip is a bomb: two members share byte {begin}")
            between += _unlisted(begin - reached)
            reached = end
        if reached > directory.begin:
            raise Permanent(f"the zip is damaged: a member reaches into byte {directory.begin}")
        return between + _unlisted(directory.begin - reached)


def _unlisted(gap: int) -> int:
    """Bytes of a gap that is none of a member's own; its sizes may stand behind its content."""
    return gap if gap > _DESCRIPTOR else 0


class _Content:
    """The bytes of one member, which must be as many as stated and have the stated CRC-32."""

    def __init__(self, window: Window, begin: int, listed: Listed, name: str) -> None:
        self._window = window
        self._at = begin
        self._end = begin + listed.packed
        self._left = listed.size
        self._crc = listed.crc
        self._name = name
        self._inflate = zlib.decompressobj(-15) if listed.method == _DEFLATED else None
        self._pending = b""
        self._sum = 0
        self._checked = False

    def read(self, size: int) -> bytes:
        parts = []
        missing = min(size, self._left)
        while missing > 0:
            part = self._step(missing)
            self._left -= len(part)
            missing -= len(part)
            self._sum = zlib.crc32(part, self._sum)
            parts.append(part)
        if self._left == 0 and not self._checked:
            self._check()
        return b"".join(parts)

    def _step(self, size: int) -> bytes:
        if self._inflate is None:
            return self._packed(size)
        if self._inflate.eof:
            raise self._damaged("it unpacks to fewer bytes than stated")
        return self._unpack(self._inflate, size)

    def _unpack(self, inflate: "zlib._Decompress", size: int) -> bytes:
        packed = self._pending
        if not packed and self._at < self._end:
            packed = self._packed(PIECE)
        try:
            part = inflate.decompress(packed, size)
        except zlib.error:
            raise self._damaged("it cannot be unpacked") from None
        self._pending = inflate.unconsumed_tail
        # The last packed byte may stand for far more than one reading takes.
        if not (packed or part or inflate.eof):
            raise self._damaged("its content breaks off")
        return part

    def _packed(self, size: int) -> bytes:
        size = min(size, self._end - self._at, PIECE - self._at % PIECE)
        part = self._window.read(self._at, size)
        self._at += len(part)
        if not part:
            raise self._damaged("its content breaks off")
        return part

    def _check(self) -> None:
        """At the end nothing may be left over, neither packed nor unpacked."""
        self._checked = True
        if self._inflate is not None:
            while not self._inflate.eof:
                if self._unpack(self._inflate, 1):
                    raise self._damaged("it unpacks to more bytes than stated")
        if self._at < self._end or (self._inflate and self._inflate.unused_data):
            raise self._damaged("bytes follow its content")
        if self._sum != self._crc:
            raise self._damaged("it does not match its CRC")

    def _damaged(self, what: str) -> Permanent:
        return Permanent(f"the zip is damaged before byte {self._at}, at {self._name}: {what}")
