"""What every answer carries: security headers, the request's id, CORS where it is configured."""

import re
import time
from collections.abc import Sequence
from secrets import token_hex
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


def register(app: Flask, *, cors_origins: Sequence[str]) -> None:
    app.before_request(_begin)
    # They run in the reverse order.
    app.after_request(_finish)
    if cors_origins:
        app.after_request(_Cors(frozenset(cors_origins)))


def _begin() -> None:
    given = request.environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = given if _GIVEN_ID.fullmatch(given) else token_hex(16)
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    _secure(response)
    principal = g.get("principal")
    log.info(
        "request.served",
        method=request.method,
        path=quote(request.path),
        status=response.status_code,
        user_id=principal.id if principal else None,
        ms=round((time.perf_counter() - g.began) * 1000, 1),
    )
    return response


def _secure(response: Response) -> None:
    """Add what is not there yet: a view, or CORS, may have said it its own way."""
    headers = response.headers
    own = {name.lower() for name in headers.keys()}  # noqa: SIM118 - iterating gives pairs
    for name, value in HEADERS.items():
        if name.lower() not in own:
            headers.add(name, value)
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    headers["X-Request-ID"] = g.request_id


class _Cors:
    """Lets pages of the named origins call the API; tokens travel in headers, not cookies."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def __call__(self, response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin not in self._origins:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, PATCH, DELETE"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = "600"
        return response
