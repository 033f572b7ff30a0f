"""A form (multipart/form-data, RFC 7578) whose one file is passed on while it arrives.

It is never whole in memory, nor on a disk: who takes it reads its pieces as they come.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Generic, TypeAlias, TypeVar

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from backend.problems import Malformed, Problem, TooLarge

Taken = TypeVar("Taken")
Take: TypeAlias = Callable[[str, Mapping[str, str], Iterable[bytes]], Taken]
"""Takes a file: its name, the fields before it, and its pieces, all of which must be read."""

FILE: Final = "file"
PARTS: Final = 16
FIELD: Final = 64 * 1024  # bytes of a part that is no file
AROUND: Final = 2 * PARTS * FIELD
"""Bytes that a form may have beside its file."""

_HEADER: Final = 16 * 1024  # bytes of a line of a part's header
_PIECE: Final = 64 * 1024  # bytes that are read at once

_Event: TypeAlias = "MultipartSegment | bytes | None"
"""A part's header, then its pieces, then None at its end."""


class UploadDied(Problem):
    """The body ended before its form did, or took too long: its sender went away."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "upload-died"


@dataclass(frozen=True, slots=True)
class Form(Generic[Taken]):
    """``fields`` stood before or after the file; ``taken`` is what became of that."""

    fields: Mapping[str, str]
    taken: Taken


def read_form(
    read: Callable[[int], bytes],
    boundary: str,
    *,
    take: Take[Taken],
    file_bytes: int,
    seconds: float,
) -> Form[Taken]:
    """Read a whole body.

    Args:
        read: of the body; answers nothing at its end.
        boundary: as the content type names it.
        take: called once, for the part named ``file``; what it raises ends the form.
        file_bytes: how long the file may be, which ``take`` sees to; all else is counted here.
        seconds: that all may take.

    Raises:
        Malformed: it is no form, or one with other files, or without the one.
        TooLarge: too much beside the file.
        UploadDied: it ended within the form, or was too slow.
    """
    fields: dict[str, str] = {}
    taken: list[Taken] = []
    events = _events(_within(read, file_bytes + AROUND, seconds), boundary)
    for part in events:
        assert isinstance(part, MultipartSegment)
        if part.filename is not None:
            if part.name != FILE or taken:
                raise Malformed("The form takes one file, in the part that is named file.")
            taken.append(take(_stored(part.filename), dict(fields), _pieces(events)))
        elif part.name in fields:
            raise Malformed("A field of the form is given more than once.")
        else:
            fields[part.name] = _text(_pieces(events))
    if not taken:
        raise Malformed("form.file: Field required", code="invalid")
    return Form(fields, taken[0])


def _within(read: Callable[[int], bytes], at_most: int, seconds: float) -> Iterator[bytes]:
    """The body, while it is neither too long nor too slow."""
    deadline = time.monotonic() + seconds
    total = 0
    while piece := read(_PIECE):
        total += len(piece)
        if total > at_most:
            raise TooLarge(f"The form is too large: more than {at_most} bytes.")
        if time.monotonic() > deadline:
            raise UploadDied("The upload took too long.")
        yield piece


def _events(body: Iterable[bytes], boundary: str) -> Iterator[_Event]:
    try:
        parser = PushMultipartParser(boundary, max_header_size=_HEADER, max_segment_count=PARTS)
        for piece in body:
            yield from parser.parse(piece)
    except ParserLimitReached as error:
        raise TooLarge(f"The form is too large: {_said(error)}") from None
    except MultipartError as error:
        raise Malformed(f"The form cannot be read: {_said(error)}") from None
    try:
        parser.close()
    except MultipartError:
        raise UploadDied("The upload ended before its form did.") from None


def _said(error: MultipartError) -> str:
    """The parser's sentence, without what of the form it may quote beside it."""
    return f"{str(error.args[0]).rstrip('.')}."


def _pieces(events: Iterator[_Event]) -> Iterator[bytes]:
    """Of one part, to its end."""
    for event in events:
        if event is None:
            return
        assert isinstance(event, bytes)
        yield event


def _text(pieces: Iterable[bytes]) -> str:
    text = bytearray()
    for piece in pieces:
        text += piece
        if len(text) > FIELD:
            raise TooLarge(f"A field of the form is larger than {FIELD} bytes.")
    try:
        return _stored(text.decode())
    except UnicodeDecodeError:
        raise Malformed("A field of the form is not UTF-8 text.") from None


def _stored(text: str) -> str:
    if "\0" in text:
        raise Malformed("The form holds a character that is not allowed.")
    return text
