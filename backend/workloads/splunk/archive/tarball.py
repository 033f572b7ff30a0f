"""A tar archive read as a stream, whichever dialect it is in."""

from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.entry import Entry, EntryKind
from backend.workloads.splunk.archive.limits import Budget
from backend.workloads.splunk.archive.naming import shortened
from backend.workloads.splunk.archive.tar_header import BLOCK, SPARSE, Broken, Header, Stated
from backend.workloads.splunk.conf.stanza import Warned

_CHUNK: Final = 64 * 1024
_ZEROS: Final = bytes(BLOCK)
_EXTENDED_BYTES: Final = 1024 * 1024
_PAX_FOR_ALL: Final = b"g"
_LONG_NAME, _LONG_TARGET = b"L", b"K"
_EXTENDED: Final = frozenset((b"x", b"X", _PAX_FOR_ALL, _LONG_NAME, _LONG_TARGET))
"""Headers about the next entry, or about all."""
_KINDS: Final = {
    b"0": EntryKind.FILE, b"\0": EntryKind.FILE, b"7": EntryKind.FILE,
    b"1": EntryKind.HARD_LINK, b"2": EntryKind.SYMBOLIC_LINK,
    b"3": EntryKind.DEVICE, b"4": EntryKind.DEVICE, b"6": EntryKind.FIFO,
    b"5": EntryKind.FOLDER, b"V": EntryKind.FOLDER, b"D": EntryKind.FOLDER,
    SPARSE: EntryKind.SPARSE,
}  # fmt: skip
_WITHOUT_CONTENT: Final = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
"""Nothing follows their headers; a size that is not zero is a leftover."""


class Stream(Protocol):
    """Forward only; ``position`` in bytes from the tar's begin."""

    position: int
    notices: list[Warned]

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""

    def skip(self, size: int) -> int:
        """How many of ``size`` bytes there were."""


class Plain:
    """A tar that is not packed, as a :class:`Stream`."""

    def __init__(self, source: BinaryIO, size: int, budget: Budget, notices: list[Warned]) -> None:
        self.position = 0
        self.notices = notices
        self._source = source
        self._size = size
        self._budget = budget

    def read(self, size: int) -> bytes:
        part = b""
        while len(part) < size and (fresh := self._source.read(size - len(part))):
            part += fresh
        self._pass(len(part))
        return part

    def skip(self, size: int) -> int:
        step = min(size, self._size - self.position)
        self._source.seek(step, 1)
        self._pass(step)
        return step

    def _pass(self, size: int) -> None:
        self.position += size
        self._budget.unpack(size)


class TarReader:
    """A :class:`~backend.workloads.splunk.archive.entry.Reader` of the tar in ``stream``.

    What follows the first end marker is not read, as tar itself has it, but it is gone over to
    the end, where gzip keeps its checksum.

    Args:
        marked: the tar must have its end marker, for nothing else tells that it is whole.
    """

    def __init__(self, stream: Stream, budget: Budget, *, marked: bool) -> None:
        self.notices = stream.notices
        self._stream = stream
        self._budget = budget
        self._marked = marked

    def entries(self) -> Iterator[Entry]:
        stated: Stated | None = None
        while (block := self._stream.read(BLOCK)) and block != _ZEROS:
            self._budget.meet()
            header = self._header(block)
            if header.kind in _EXTENDED:
                stated = stated or Stated()
                self._extend(header, stated)
                continue
            content = self._content(header, stated)
            yield _entry(header, content, sparse=stated is not None and stated.sparse)
            content.finish()
            stated = None
        if stated is not None and stated != Stated():
            raise self._damaged("an extended header stands before no member")
        self._end(block)

    def _header(self, block: bytes) -> Header:
        at = self._stream.position - len(block)
        if len(block) < BLOCK and at:
            raise Permanent(f"truncated: the tar breaks off at byte {self._stream.position}")
        try:
            return Header.of(block)
        except Broken as error:
            raise Permanent(f"the tar is damaged at byte {at}: {error}") from None

    def _extend(self, header: Header, stated: Stated) -> None:
        if header.size > _EXTENDED_BYTES:
            raise self._damaged("an extended header is too large")
        content = _Content(self._stream, header.size, b"an extended header")
        text = content.read(header.size)
        content.finish()
        if header.kind == _LONG_NAME:
            stated.long_name(text)
        elif header.kind == _LONG_TARGET:
            stated.long_target(text)
        else:
            self._records(header.kind, text, stated)

    def _records(self, kind: bytes, text: bytes, stated: Stated) -> None:
        about = Stated() if kind == _PAX_FOR_ALL else stated
        try:
            about.records(text)
        except Broken as error:
            raise self._damaged(str(error)) from None
        if kind == _PAX_FOR_ALL and about != Stated():
            # Programs disagree on what that means, and so on what is in the archive.
            raise self._damaged("one header states the name or size of all members")

    def _damaged(self, what: str) -> Permanent:
        return Permanent(f"the tar is damaged before byte {self._stream.position}: {what}")

    def _content(self, header: Header, stated: Stated | None) -> "_Content":
        more = header.extended
        while more:
            block = self._stream.read(BLOCK)
            if len(block) < BLOCK:
                raise self._damaged("the map of a sparse file breaks off")
            more = block[504] != 0
        if stated is not None:
            header.name = header.name if stated.path is None else stated.path
            header.target = header.target if stated.target is None else stated.target
            header.size = header.size if stated.size is None else stated.size
        size = 0 if header.kind in _WITHOUT_CONTENT else header.size
        return _Content(self._stream, size, header.name)

    def _end(self, block: bytes) -> None:
        if not block and self._marked:
            raise Permanent(f"truncated: the tar has no end marker at byte {self._stream.position}")
        if not block:
            self.notices.append(Warned("no-end-marker", "the tar has no end marker"))
        told = False
        while chunk := self._stream.read(_CHUNK):
            if not told and chunk.strip(b"\0"):
                what = f"what follows the tar's end, before byte {self._stream.position}"
                self.notices.append(Warned("trailing-data", f"{what}, is not read"))
                told = True


def _entry(header: Header, content: "_Content", *, sparse: bool) -> Entry:
    name = _text(header.name)
    kind = _KINDS.get(header.kind, EntryKind.UNSUPPORTED)
    if kind is EntryKind.FILE and sparse:
        return Entry(name, EntryKind.SPARSE, content.size)
    if kind is EntryKind.FILE and name.endswith("/"):
        kind = EntryKind.UNSUPPORTED if content.size else EntryKind.FOLDER
        return Entry(name, kind, content.size, "a folder with content")
    if kind is EntryKind.UNSUPPORTED:
        return Entry(name, kind, content.size, f"its type is {header.kind!r}")
    if kind is EntryKind.FILE:
        return Entry(name, kind, content.size, "", content.read)
    return Entry(name, kind, content.size, _text(header.target))


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")


class _Content:
    """``size`` bytes of ``stream``, and the padding behind them."""

    def __init__(self, stream: Stream, size: int, name: bytes) -> None:
        self.size = size
        self._stream = stream
        self._left = size
        self._name = name

    def read(self, size: int) -> bytes:
        part = self._stream.read(min(size, self._left))
        self._left -= len(part)
        if not part and self._left:
            raise self._cut()
        return part

    def finish(self) -> None:
        """To the next header."""
        missing = self._left + -self.size % BLOCK
        if self._stream.skip(missing) < missing:
            raise self._cut()
        self._left = 0

    def _cut(self) -> Permanent:
        at = self._stream.position
        name = shortened(_text(self._name))
        return Permanent(f"truncated: the tar breaks off at byte {at}, inside {name}")
