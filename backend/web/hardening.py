"""What every answer carries: security headers, the request's id, CORS where it is configured."""

import re
import time
from collections.abc import Sequence
from urllib.parse import quote
from uuid import uuid4

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
    app.after_request(_secure)
    app.after_request(_Cors(frozenset(cors_origins)))
    app.after_request(_finish)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _GIVEN_ID.fullmatch(given) else uuid4().hex
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _secure(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    return response


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
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


class _Cors:
    """Lets pages of the named origins call the API; tokens travel in headers, not cookies."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def __call__(self, response: Response) -> Response:
        if not self._origins:
            return response
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
