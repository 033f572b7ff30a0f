"""Errors a caller can act on: a stable code, an HTTP status and one sentence (RFC 9457).

Services raise them, the web layer renders them, the command line prints their sentence.
"""

from http import HTTPStatus
from typing import Any


class Problem(Exception):
    """Something the caller did, or could change.

    Args:
        detail: one sentence a person can act on; never holds a secret or a traceback.
        code: stable, machine-readable, kebab-case; defaults to the class's.
        extra: additional JSON members of the problem document.
    """

    status: HTTPStatus = HTTPStatus.BAD_REQUEST
    code: str = "bad-request"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra


class Malformed(Problem):
    """The input is not what it claims to be."""

    status = HTTPStatus.BAD_REQUEST
    code = "malformed"


class Unauthorized(Problem):
    """No valid credentials."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthorized"


class Forbidden(Problem):
    """Known, but not allowed."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class NotFound(Problem):
    """There is no such thing, or it belongs to somebody else."""

    status = HTTPStatus.NOT_FOUND
    code = "not-found"


class Conflict(Problem):
    """The thing is not in a state in which this can be done."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class TooLarge(Problem):
    """Over a documented limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too-large"


class Unsupported(Problem):
    """Well-formed, but of a kind or version that is not supported."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "unsupported"


class TooManyRequests(Problem):
    """A rate limit was reached; ``retry_after`` (seconds) is in the document and the header."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "too-many-requests"


class Unavailable(Problem):
    """Something we depend on cannot be reached now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
