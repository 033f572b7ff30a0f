"""Archives made for one test each, in memory."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.limits import Limits
from backend.workloads.splunk.archive.members import Archive, Member, Skipped, survey

CONF = b"[monitor:///var/log]\nindex = main\n"


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def tar(
    *entries: tarfile.TarInfo | tuple[str | tarfile.TarInfo, bytes],
    dialect: int = tarfile.PAX_FORMAT,
) -> bytes:
    """Entries in this order: a header without content, or a name or header with it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=dialect) as archive:
        for one in entries:
            header, content = one if isinstance(one, tuple) else (one, b"")
            header = entry(header) if isinstance(header, str) else header
            if header.isreg():
                header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return made.getvalue()


def targz(*entries: tarfile.TarInfo | tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    return gzip.compress(tar(*entries), 6, mtime=0)


def zipped(
    files: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            archive.writestr(name, content)
    return made.getvalue()


def surveyed(data: bytes, name: str = "etc.tgz", limits: Limits | None = None) -> Archive:
    return survey(io.BytesIO(data), name, limits)


def content_of(member: Member, step: int = 64 * 1024) -> bytes:
    return b"".join(iter(lambda: member.read(step), b""))


def contents(data: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    """Path → content of all that is read."""
    members = surveyed(data, limits=limits).members()
    return {one.path: content_of(one) for one in members if isinstance(one, Member)}


def skips(data: bytes, limits: Limits | None = None) -> dict[str, str]:
    """Path → reason of all that is skipped."""
    members = surveyed(data, limits=limits).members()
    return {one.path: one.reason for one in members if isinstance(one, Skipped)}


def notices(data: bytes, name: str = "etc.tgz") -> list[str]:
    return [notice.code for notice in surveyed(data, name).notices]


def refusal(data: bytes, limits: Limits | None = None, name: str = "etc.tgz") -> str:
    """Why the archive is refused, at once or while it is read."""
    try:
        for one in surveyed(data, name, limits).members():
            if isinstance(one, Member):
                content_of(one)
    except Permanent as error:
        return error.detail
    raise AssertionError("the archive is accepted")
