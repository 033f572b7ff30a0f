"""The bytes of a conf file as lines of text: encodings, byte order marks, NUL, binary content.

A file is decoded in pieces that end with a line, so that one strange character in a large file
does not make all of its text four bytes wide.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final

from backend.workloads.splunk.conf.stanza import TooMuch, Warnings

PIECE: Final = 256 * 1024
"""Bytes that are decoded at once; a longer line is decoded whole."""
LARGEST: Final = 96 * 1024 * 1024
"""Bytes of a file, which is held in memory."""
LONGEST: Final = 12 * 1024 * 1024
"""Bytes of one line, or of one value with all the lines that continue it."""
Data = bytes | bytearray
BINARY: Final = "binary"
"""The ``encoding`` of what is no text."""

_SAMPLE: Final = 64 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONE_CR: Final = re.compile(rb"\r(?![\r\n])")
_MARK: Final = "\ufeff"
_LATER_MARK: Final = re.compile(rb"\n\xef\xbb\xbf")
_LATER_MARKS: Final = re.compile(r"^\ufeff+", re.MULTILINE)
_CONTROLS: Final = bytes({*range(32), 0x7F} - set(b"\t\n\v\f\r\x1b"))


class Reading:
    """One conf file's text.

    Attributes:
        encoding: ``utf-8``, ``utf-8-sig``, ``utf-16-le`` (``-be``), ``utf-32-le`` (``-be``),
            ``latin-1``, or ``binary`` for what is no text and has no lines.
    """

    def __init__(self, data: Data, warnings: Warnings) -> None:
        """Raises TooMuch for a file over ``LARGEST``."""
        if len(data) > LARGEST:
            raise TooMuch(f"a conf file of more than {LARGEST:,} bytes")
        self.encoding, self._data, self._start = _recognised(data, warnings)
        if (at := self._data.find(b"\0")) >= 0:
            warnings.add("nul-byte", "NUL was replaced by U+FFFD", self._line(at))
        self._warnings = warnings
        self._told: set[str] = set()  # for the text may be gone over twice

    def texts(self) -> Iterator[str]:
        """The text in pieces that begin and end with a line, without CR LF and without NUL.

        The line end between two pieces belongs to neither.

        Raises:
            TooMuch: a line is longer than ``LONGEST``.
        """
        data, codec = self._data, "latin-1" if self.encoding == "latin-1" else "utf-8"
        start = self._start
        while start <= len(data):  # what ends with a line end has an empty line behind it
            end = data.find(b"\n", start + PIECE)
            piece = data[start:] if end < 0 else data[start:end]
            if len(piece) > LONGEST:
                raise TooMuch(f"a line of more than {LONGEST:,} bytes")
            start += len(piece) + 1
            if b"\r" in piece:
                piece = (piece + b"\n").replace(b"\r\n", b"\n")[:-1]
                if b"\r" in piece:
                    message = "a carriage return alone ends no line: it is part of it"
                    self._tell("carriage-return", message, _LONE_CR)
            text = piece.decode(codec)
            if _MARK in text:
                self._tell("encoding", "a byte order mark was left out", _LATER_MARK)
                text = _LATER_MARKS.sub("", text)
            yield text.replace("\0", "\ufffd") if "\0" in text else text

    def _tell(self, code: str, message: str, what: re.Pattern[bytes]) -> None:
        if code not in self._told and (found := what.search(self._data, self._start)):
            self._warnings.add(code, message, self._line(found.end()))
        self._told.add(code)

    def _line(self, at: int) -> int:
        return self._data.count(b"\n", 0, at) + 1


def _recognised(data: Data, warnings: Warnings) -> tuple[str, Data, int]:
    """The encoding, the bytes in UTF-8 or latin-1, and where their text begins."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            warnings.add("encoding", f"begins with a byte order mark, read as {encoding}")
            if encoding != "utf-8-sig":
                return encoding, _utf8(data, encoding, len(mark)), 0
            return (encoding if _is_utf8(data) else _latin(warnings)), data, len(mark)
    if (wide := _wide(data)) is not None:
        warnings.add("encoding", f"has no byte order mark, but reads like {wide}")
        return wide, _utf8(data, wide, 0), 0
    valid = _is_utf8(data)
    if _is_binary(data[:_SAMPLE], share=0.3 if valid else 0.05):
        warnings.add("binary", "no text: none of its content was read")
        return BINARY, b"", 0
    return ("utf-8" if valid else _latin(warnings)), data, 0


def _latin(warnings: Warnings) -> str:
    warnings.add("encoding", "not valid UTF-8, read as latin-1")
    return "latin-1"


def _utf8(data: Data, encoding: str, start: int) -> bytes:
    """Piece by piece; what is not valid becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    texts = (
        decoder.decode(data[at : at + PIECE], at + PIECE >= len(data))
        for at in range(start, len(data), PIECE)
    )
    return b"".join(text.encode() for text in texts)


def _is_utf8(data: Data) -> bool:
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), PIECE):
            decoder.decode(data[start : start + PIECE], start + PIECE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def _wide(data: Data) -> str | None:
    """UTF-16 of mostly ASCII text, told by NULs in every other byte."""
    sample = data[: min(len(data), _SAMPLE) & ~1]
    half = len(sample) // 2
    if half < 2 or not sample.count(0):  # noqa: PLR2004  one character proves nothing
        return None
    high, low = sample[::2].count(0), sample[1::2].count(0)
    if low > 0.7 * half and high < 0.1 * half:
        return "utf-16-le"
    if high > 0.7 * half and low < 0.1 * half:
        return "utf-16-be"
    return None


def _is_binary(sample: Data, share: float) -> bool:
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls > share * len(sample) + 2  # a few bytes prove nothing
