"""What an upload is, told by its content and never by its name."""

import re
from enum import StrEnum
from typing import BinaryIO, Final

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.gzipped import Gunzip
from backend.workloads.splunk.archive.limits import Budget, Limits
from backend.workloads.splunk.archive.tar_header import BLOCK, stands_at
from backend.workloads.splunk.archive.zip_directory import ends_as_zip


class Kind(StrEnum):
    TAR = "tar"
    TAR_GZ = "tar.gz"
    ZIP = "zip"
    CONF = "conf"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of such files usually end."""
        return _SUFFIXES[self]


_SUFFIXES: Final = {
    Kind.TAR: (".tar",),
    Kind.TAR_GZ: (".tar.gz", ".tgz", ".spl", ".gz"),
    Kind.ZIP: (".zip",),
    Kind.CONF: (".conf", ".meta"),
}
_HEAD: Final = 64 * 1024
_TOP: Final = 4096  # characters in which a page says that it is HTML
_GZIP: Final = b"\x1f\x8b"
_ZIPS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_USTAR: Final = slice(257, 262)  # of a tar's header: where all but the oldest say what they are
_OTHERS: Final = (
    (b"BZh", "a bzip2 file"), (b"\xfd7zXZ\0", "an xz file"), (b"]\0\0", "an lzma file"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file"), (b"\x04\x22\x4d\x18", "an lz4 file"),
    (b"\x1f\x9d", "a file of compress"), (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"), (b"MSCF", "a Windows cabinet"),
    (b"PK\x07\x08", "one volume of a zip archive"), (b"070701", "a cpio archive"),
    (b"070707", "a cpio archive"), (b"!<arch>\n", "an ar archive"),
    (b"\xed\xab\xee\xdb", "an RPM package"), (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document or installer"),
    (b"\x89PNG\r\n", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"), (b"MZ", "a Windows program"), (b"SQLite format 3\0", "a database"),
    (b"Salted__", "an encrypted file"), (b"age-encryption.org/", "an encrypted file"),
    (b"-----BEGIN PGP MESSAGE", "an encrypted file"), (b"-----BEGIN", "a key or certificate"),
    (b"#!", "a script"),
)  # fmt: skip
_MARKUP: Final = re.compile(r"\s*<(?:!--|[!?/]?[a-z])", re.IGNORECASE)
_HTML: Final = ("<!doctype html", "<html", "<head", "<body")
_JSON: Final = re.compile(r'\s*(?:\{\s*["}]|\[\s*\{\s*["}]|\[\s*"[^"\n]*"\s*,)')
_HEADER: Final = re.compile(r"\[(?:.*\]\Z|[^\]]*\]\s*[#;])")
_SETTING: Final = re.compile(r"[\w.:{}<>$/-][\w.:{}<>$/ -]{0,255}=", re.ASCII)
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip
_CONTROLS: Final = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_CONTROLS: Final = 0.05  # of all characters


def kind_of(source: BinaryIO) -> Kind:
    """Leaves ``source`` at its begin.

    Raises:
        Permanent: it is none of the four; the text says what it is instead.
    """
    head = _peek(source)
    if not head:
        raise Permanent("the file is empty")
    if head.startswith(_GZIP):
        _check_holds_tar(source)
        return Kind.TAR_GZ
    if head.startswith(_ZIPS):
        return Kind.ZIP
    if stands_at(head[:BLOCK]):
        return Kind.TAR
    if not head.strip(b"\0"):
        raise Permanent("the file holds nothing but zeros: an empty or a damaged archive")
    _check_no_damaged_tar(head)
    if ends_as_zip(source):
        return Kind.ZIP
    if reads_as_conf(head):
        return Kind.CONF
    raise Permanent(
        f"not an archive but {described(head)}; tar, tar.gz, zip and single conf files are read"
    )


def _peek(source: BinaryIO) -> bytes:
    source.seek(0)
    head = source.read(_HEAD)
    source.seek(0)
    return head


def _check_holds_tar(source: BinaryIO) -> None:
    """Raises Permanent where the gzip file holds something else."""
    limits = Limits()
    start = Gunzip(source, Budget(limits, limits.unpacked), []).read(4 * BLOCK)
    source.seek(0)
    if not start.strip(b"\0"):
        raise Permanent("the archive is empty")
    if not stands_at(start[:BLOCK]):
        _check_no_damaged_tar(start)
        what = "a single conf file" if reads_as_conf(start) else described(start)
        raise Permanent(f"a gzip file that holds no tar archive but {what}")


def _check_no_damaged_tar(head: bytes) -> None:
    """Raises Permanent where a tar's first header is damaged, or its first members are missing."""
    if head.startswith(tuple(magic for magic, _ in _OTHERS)):
        return
    blocks = range(BLOCK, len(head), BLOCK)
    if head[_USTAR] == b"ustar" or any(stands_at(head[at : at + BLOCK]) for at in blocks):
        raise Permanent("the tar is damaged at byte 0: no tar header stands there")


def described(head: bytes) -> str:
    """What a file that begins so is, in a few words with an article."""
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    if head.startswith((_GZIP, *_ZIPS)):
        return "another archive"
    text = _text(head)
    if text is None:
        return "binary data of an unknown format"
    if _MARKUP.match(text):
        html = any(tag in text[:_TOP].lower() for tag in _HTML)
        return "an HTML page (perhaps of a login)" if html else "an XML document"
    if _JSON.match(text):
        return "a JSON document"
    return "a text without stanza or setting"


def reads_as_conf(head: bytes) -> bool:
    """Whether some line is a stanza's header, or the first that counts is a setting.

    Comments and blank lines alone make a conf file too.
    """
    text = _text(head)
    if text is None or head.startswith(tuple(magic for magic, _ in _OTHERS)):
        return False
    if _MARKUP.match(text) or _JSON.match(text):
        return False
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#;"]
    if not lines:
        return bool(text.strip())
    return bool(_SETTING.match(lines[0])) or any(map(_HEADER.match, lines))


def _text(head: bytes) -> str | None:
    """None for what is no text; bytes that are no UTF-8 are let pass, as are NULs among others."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "replace")
    text = head.replace(b"\0", b"").decode("latin-1")
    controls = len(_CONTROLS.findall(text))
    return text if text and controls <= _MOST_CONTROLS * len(text) else None
