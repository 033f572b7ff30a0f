"""The members of an uploaded archive, one at a time, nothing unpacked to disk.

The archive is read twice: :func:`survey` goes over its names and says what is wrong with the whole,
:meth:`Archive.members` then hands out the contents. So the place of every file can be told before
the first is parsed, and of two members with one name the first is known to be replaced. What is
remembered between the two is some 200 bytes for a member, whatever its name.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.entry import Entry, EntryKind, Reader
from backend.workloads.splunk.archive.gzipped import Gunzip
from backend.workloads.splunk.archive.kinds import Kind, kind_of
from backend.workloads.splunk.archive.limits import Budget, Limits
from backend.workloads.splunk.archive.naming import (
    Refused,
    escaped,
    leads_out,
    normal,
    refused,
    shortened,
)
from backend.workloads.splunk.archive.tarball import Plain, TarReader
from backend.workloads.splunk.archive.zipped import ZipReader
from backend.workloads.splunk.conf.stanza import Warned

_LINKS: Final = frozenset((EntryKind.SYMBOLIC_LINK, EntryKind.HARD_LINK))
_FOLDERS: Final = re.compile(r"[\\/]")
_UNNAMED: Final = "unnamed.conf"


@dataclass(frozen=True, slots=True)
class Member:
    r"""One regular file.

    Attributes:
        number: its place among all entries of the archive, counted from 1.
        path: ``/`` between the components, neither absolute nor with ``.`` or ``..``. Bytes that
            are no UTF-8 stand as ``\xd3``, characters that do not print as ``\u202e``, a
            backslash as two: safe for PostgreSQL and for a terminal, and never the same for two
            different names.
        size: in bytes, as the archive states it; ``read`` raises where that is not true.
        read: up to n bytes of the content, empty only at its end; can be read once, before the
            next member is asked for. Raises Permanent where the archive is broken.
        warnings: about the member itself: ``duplicate-member``, ``unusual-name``.
    """

    number: int
    path: str
    size: int
    read: Callable[[int], bytes]
    warnings: tuple[Warned, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A member that is not read; ``path`` as for :class:`Member`, cut where it is too long.

    Attributes:
        reason: ``traversal``, ``absolute``, ``link``, ``link-outside``, ``below-link``, ``device``,
            ``fifo``, ``sparse``, ``too-long``, ``too-deep``, ``too-large``, ``unsafe-name``,
            ``replaced``, ``unsupported``.
        detail: one line that may be stored and shown.
    """

    number: int
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Relations:
    """Which members, by their numbers, are judged by another one."""

    replaced: set[int] = field(default_factory=set)
    replacing: set[int] = field(default_factory=set)
    below_link: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Archive:
    """What the survey found.

    Attributes:
        kind: told by the content.
        entries: of every kind, folders among them.
        files: regular files that :meth:`members` will hand out.
        notices: what is strange about the whole: ``name-disagrees``, ``trailing-data``,
            ``leading-data``, ``unlisted-data``, ``no-end-marker``.
    """

    kind: Kind
    entries: int
    files: int
    notices: tuple[Warned, ...]
    _open: Callable[[], Reader]
    _limits: Limits
    _relations: _Relations

    def members(self) -> Iterator[Member | Skipped]:
        """In the archive's own order; an ordinary folder leaves nothing.

        Raises:
            Permanent: a content does not match its checksum or its size, or is over a limit.
        """
        for number, entry in enumerate(self._open().entries(), start=1):
            why = _refused(entry, self._limits) or self._overruled(number)
            if why is not None:
                path = escaped(normal(entry.name)) if why.keeps_name else shortened(entry.name)
                yield Skipped(number, path, why.reason, why.detail)
            elif entry.kind is EntryKind.FILE:
                yield self._member(number, entry)

    def _overruled(self, number: int) -> Refused | None:
        if number in self._relations.replaced:
            return Refused("replaced", "a later member has the same name", keeps_name=True)
        if number in self._relations.below_link:
            return Refused("below-link", "a member before it makes its folder a link")
        return None

    def _member(self, number: int, entry: Entry) -> Member:
        path, warnings = normal(entry.name), []
        if number in self._relations.replacing:
            warnings.append(Warned("duplicate-member", "it replaces an earlier one of its name"))
        if not path.isprintable() or "\\" in path:
            warnings.append(
                Warned("unusual-name", "its name holds what is not shown, or a backslash")
            )
        return Member(number, escaped(path), entry.size, entry.read, tuple(warnings))


def survey(
    source: BinaryIO,
    name: str,
    limits: Limits | None = None,
    *,
    seen: Callable[[str], None] = lambda _path: None,
) -> Archive:
    """Read the whole archive once and keep nothing of it.

    Args:
        source: seekable, of the plain bytes; must stay open while members are read.
        name: the uploaded file's, which names a bare conf file; what the file is, its content says.
        seen: is told the path of each file that may be handed out (``Placing.see``).

    Raises:
        Permanent: truncated, broken, encrypted, empty, over a limit, or no archive at all.
    """
    limits = limits or Limits()
    size = source.seek(0, io.SEEK_END)
    kind = kind_of(source)

    def open_again() -> Reader:
        return _reader(kind, source, name, size, limits)

    reader = open_again()
    found = _Survey(limits, seen)
    for entry in reader.entries():
        found.take(entry)
    found.check()
    notices = (*_disagreeing(kind, name), *reader.notices)
    return Archive(
        kind, found.entries, len(found.last), notices, open_again, limits, found.relations
    )


def _reader(kind: Kind, source: BinaryIO, name: str, size: int, limits: Limits) -> Reader:
    source.seek(0)
    budget, notices = Budget(limits, size), list[Warned]()
    match kind:
        case Kind.TAR:
            return TarReader(Plain(source, size, budget, notices), budget, marked=True)
        case Kind.TAR_GZ:
            return TarReader(Gunzip(source, budget, notices), budget, marked=False)
        case Kind.ZIP:
            return ZipReader(source, size, budget, notices)
        case Kind.CONF:
            return _Alone(source, name, size, limits)


class _Alone:
    """A conf file that nobody packed: the archive of one member, whatever its name."""

    def __init__(self, source: BinaryIO, name: str, size: int, limits: Limits) -> None:
        self.notices: list[Warned] = []
        base = _FOLDERS.split(name)[-1]
        good = base if refused(base, limits) is None else _UNNAMED
        self._entry = Entry(good, EntryKind.FILE, size, "", source.read)

    def entries(self) -> Iterator[Entry]:
        yield self._entry


def _disagreeing(kind: Kind, name: str) -> Iterator[Warned]:
    if (kind is Kind.CONF or "." in name) and not name.lower().endswith(kind.suffixes):
        yield Warned("name-disagrees", f"by its content the file is {kind}, by its name it is not")


class _Survey:
    """Collects while the entries pass by once."""

    def __init__(self, limits: Limits, seen: Callable[[str], None]) -> None:
        self.entries = 0
        self.last: dict[bytes, int] = {}
        self.relations = _Relations()
        self._limits = limits
        self._seen = seen
        self._skipped = 0
        # Of their paths, as Python hashes text: fast, and keyed, so that nobody can aim at it.
        self._links: set[int] = set()

    def take(self, entry: Entry) -> None:
        self.entries += 1
        why = _refused(entry, self._limits)
        path = normal(entry.name)
        if why is None and entry.kind is EntryKind.FILE:
            self._take_file(path)
        elif why is not None:
            self._skipped += 1
            if entry.kind in _LINKS:
                self._links.add(hash(path))

    def _take_file(self, path: str) -> None:
        number = self.entries
        if self._links and any(hash(folder) in self._links for folder in _above(path)):
            self.relations.below_link.add(number)
            self._skipped += 1
            return
        digest = _digest(path)
        if digest in self.last:
            self.relations.replaced.add(self.last[digest])
            self.relations.replacing.add(number)
        self.last[digest] = number
        self._seen(escaped(path))

    def check(self) -> None:
        """Raises Permanent where nothing at all is in the archive."""
        if not self.entries:
            raise Permanent("the archive is empty")
        if not self.last and not self._skipped:
            raise Permanent("the archive holds folders but no file")


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _above(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _refused(entry: Entry, limits: Limits) -> Refused | None:
    """Why an entry is not read, as far as it tells by itself; None for files and folders."""
    why = refused(entry.name, limits)
    if entry.kind is EntryKind.FOLDER:
        # "./" is the usual name of the folder that was packed.
        return None if why is None or not normal(entry.name) else why
    return why or _not_a_file(entry, limits)


def _not_a_file(entry: Entry, limits: Limits) -> Refused | None:
    match entry.kind:
        case EntryKind.FILE if entry.size > limits.member:
            return Refused("too-large", f"it has {entry.size} bytes", keeps_name=True)
        case EntryKind.FILE:
            return None
        case EntryKind.SYMBOLIC_LINK | EntryKind.HARD_LINK:
            return _link(entry)
        case EntryKind.DEVICE | EntryKind.FIFO | EntryKind.SPARSE:
            return Refused(
                entry.kind.value, f"a {_SPOKEN[entry.kind]} is not read", keeps_name=True
            )
        case _:
            return Refused("unsupported", entry.target, keeps_name=True)


_SPOKEN: Final = {
    EntryKind.DEVICE: "device",
    EntryKind.FIFO: "pipe",
    EntryKind.SPARSE: "sparse file",
}


def _link(entry: Entry) -> Refused:
    hard = entry.kind is EntryKind.HARD_LINK
    outside = leads_out(entry.name, entry.target, hard=hard)
    detail = f"a {entry.kind} to {shortened(entry.target)}"
    return Refused("link-outside" if outside else "link", detail, keeps_name=True)
