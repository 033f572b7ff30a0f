"""The members of a package tarball, one at a time, straight from the stream."""

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias, cast

from backend.workloads.packages.scanning.gzip_stream import GzipStream
from backend.workloads.packages.scanning.inspection import InspectionError, Limits, printable

_BLOCK = 512
_EXTENDED_HEADER_BYTES = 1024 * 1024
_EXTENDED = frozenset(
    (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
     tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
)  # fmt: skip
_PREFIX = slice(345, 500)
_MAGIC = slice(257, 265)
_USTAR = b"ustar\x0000"
_SEGMENT_BYTES = 255
_GLOBAL_OVERRIDES = frozenset(("path", "linkpath", "size"))
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """One entry as npm would see it.

    Attributes:
        path: below the package's root (the archive's first folder is stripped, whatever its name);
            empty for the root itself and for what lies outside it.
        kind: ``file``, ``directory`` or ``link`` (npm ignores links).
        read: up to n bytes of the content; a file's content can be read once, before the next
            member is asked for.
    """

    path: str
    raw_name: str
    kind: str
    read: Callable[[int], bytes]


class _StrictHeader(tarfile.TarInfo):
    """A header that is broken is an error.

    The library ends the archive at one silently, while npm skips it and goes on: what comes after
    would be installed and never looked at.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined] # undocumented, stable since 3.2
            raise
        except tarfile.HeaderError:
            code = "truncated" if len(buf) < _BLOCK else "not-tar"
            raise InspectionError(code, "a tar header is broken") from None  # type: ignore[arg-type] # both are codes
        if header.size < 0 or (header.type in _EXTENDED and header.size > _EXTENDED_HEADER_BYTES):
            raise InspectionError("unsafe-member", "a tar header states an impossible size")
        if any(buf[_PREFIX]) and bytes(buf[_MAGIC]) != _USTAR:
            # The library would prepend this field to the name; npm would not.
            raise InspectionError("unsafe-member", "a tar header has an unclear name")
        return header


Members: TypeAlias = Iterator[tuple[Member, GzipStream]]
"""In archive order, with the stream whose counters tell the cost so far."""


def walk(path: Path, limits: Limits) -> Members:
    """Every member.

    Raises:
        InspectionError: the archive is broken, over a limit, or holds a member that no package
            has a reason to hold (traversal, absolute path, device, FIFO, sparse file).
    """
    with path.open("rb") as raw:
        stream = GzipStream(raw, limits)
        try:
            yield from _walk(stream, limits)
        except tarfile.TarError:
            raise InspectionError("truncated", "the tar archive ends inside a member") from None
        except (OverflowError, ValueError):
            raise InspectionError("not-tar", "a tar header cannot be read") from None


def _open(stream: GzipStream) -> tarfile.TarFile:
    try:
        return tarfile.open(
            fileobj=cast("IO[bytes]", stream),
            mode="r|",
            tarinfo=_StrictHeader,
            bufsize=_BLOCK * 20,
        )
    except tarfile.TarError:
        raise InspectionError("not-tar", "the archive is empty or not a tar archive") from None


def _walk(stream: GzipStream, limits: Limits) -> Members:
    with _open(stream) as archive:
        count = 0
        while (header := archive.next()) is not None:
            # The library remembers every member; a hundred thousand of them are 100 MB.
            archive.members.clear()  # type: ignore[attr-defined] # typeshed leaves it out
            count += 1
            if count > limits.members:
                raise too_many(limits)
            yield _member(archive, header, limits), stream
        if count == 0:
            raise InspectionError("not-tar", "the archive has no members")
        _expect_only_zeros(archive, stream)


def _expect_only_zeros(archive: tarfile.TarFile, stream: GzipStream) -> None:
    """After the end marker nothing may follow: npm reads on where other readers stop."""
    rest = cast("IO[bytes]", archive.fileobj)
    while chunk := rest.read(_BLOCK * 20):
        if chunk.strip(b"\0"):
            raise InspectionError("trailing-data", "there are bytes after the tar end marker")
    stream.read(1)


def _member(archive: tarfile.TarFile, header: tarfile.TarInfo, limits: Limits) -> Member:
    path = package_path(header.name, limits)
    _refuse_ambiguous(archive, header)
    if header.issym() or header.islnk():
        return Member(path, header.name, "link", _nothing)
    if header.isdir():
        return Member(path, header.name, "directory", _nothing)
    if not header.isreg():
        raise InspectionError("unsafe-member", f"{printable(header.name)!r} is a device or FIFO")
    content = archive.extractfile(header)
    return Member(path, header.name, "file", content.read if content else _nothing)


def too_many(limits: Limits) -> InspectionError:
    return InspectionError("too-many-members", f"more than {limits.members} members")


def _refuse_ambiguous(archive: tarfile.TarFile, header: tarfile.TarInfo) -> None:
    """Refuse headers that npm's reader and ours would understand differently."""
    stated_size = header.pax_headers.get("size", str(header.size))
    stated_name = header.pax_headers.get("path", header.name)
    if (
        header.size < 0
        or header.issparse()
        or stated_size != str(header.size)
        or (header.isreg() and stated_name.endswith("/"))
        or not _GLOBAL_OVERRIDES.isdisjoint(archive.pax_headers)
    ):
        raise InspectionError("unsafe-member", f"{printable(header.name)!r} has an unclear header")


def package_path(name: str, limits: Limits) -> str:
    """Without its first component, as npm installs it; what could leave the folder is refused."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > limits.path_bytes or "\0" in name:
        raise InspectionError("unsafe-member", f"{printable(name, limit=80)!r} is no usable path")
    parts = re.split(r"[\\/]", name)
    if ".." in parts or parts[0] == "" or _DRIVE.match(name):
        raise InspectionError("unsafe-member", f"{printable(name)!r} points outside the package")
    inside = [part for part in name.split("/")[1:] if part not in {"", "."}]
    if len(raw) > _SEGMENT_BYTES and any(
        len(part.encode("utf-8", "surrogateescape")) > _SEGMENT_BYTES for part in inside
    ):
        raise InspectionError("unsafe-member", f"{printable(name, limit=80)!r} is no usable path")
    return "/".join(inside)


def _nothing(_size: int) -> bytes:
    return b""
