"""The body of an import, read off the request while it arrives."""

import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import ClientDisconnected, UnsupportedMediaType

from backend.identity.limits import Rate
from backend.operations import JSON_LINES, settings
from backend.problems import Forbidden, Malformed, NotFound, Problem, TooLarge, TooManyRequests
from backend.workloads.tasks.importing import Staged, receive

AT_MOST: Final = 600  # seconds that a body may take to arrive
_PIECE: Final = 64 * 1024  # bytes that are read at once

IMPORTS: Final = Rate("task data import", lambda: settings().upload_rate_per_minute)


class LengthRequired(Problem):
    """Without its length nobody could tell a whole body from the first half of one."""

    status = HTTPStatus.LENGTH_REQUIRED
    code = "length-required"


class BodyDied(Problem):
    """The body ended before its announced length, or took too long."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "upload-died"


IMPORT_PROBLEMS: Final = (
    Malformed, Forbidden, NotFound, TooLarge, TooManyRequests, LengthRequired, BodyDied,
)  # fmt: skip


def received(line: type[BaseModel]) -> Staged:
    """The lines of the request's body, all of them right; close what is answered.

    Raises:
        Malformed: see :func:`backend.workloads.tasks.importing.receive`.
        TooLarge: over DATA_MAX_IMPORT_BYTES, or a million lines.
        LengthRequired, BodyDied: as they say.
        UnsupportedMediaType: it is not said to be JSON lines.
    """
    staged = Staged(line)
    try:
        receive(_body(settings().data_max_import_bytes), staged)
    except BaseException:
        staged.close()
        raise
    return staged


def _body(limit: int) -> Iterator[bytes]:
    if request.mimetype != JSON_LINES:
        raise UnsupportedMediaType(f"The body must be {JSON_LINES}: one JSON object a line.")
    length = request.content_length
    if length is None:
        raise LengthRequired("Say how long the body is (Content-Length).")
    if length > limit:
        raise TooLarge(f"An import takes {limit} bytes (DATA_MAX_IMPORT_BYTES).")
    request.max_content_length = limit  # the application's own is that of other bodies
    deadline = time.monotonic() + AT_MOST
    try:
        while piece := request.stream.read(_PIECE):
            length -= len(piece)
            yield piece
            if time.monotonic() > deadline:
                raise BodyDied("The import took too long to arrive.")
    except ClientDisconnected:
        raise BodyDied("The body ended before its length was reached.") from None
    if length:
        raise BodyDied("The body ended before its length was reached.")
