"""What every answer carries: security headers, the request's id, CORS where it is configured."""

import re
import time
from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from flask import Flask, Response, request

from backend import logs
from backend.identity.guard import USER_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
HTTPS_HEADERS: Final = (
    *HEADERS,
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What a request's environment holds beside the server's words.
ID: Final = "lockkeeper.request_id"
BEGAN: Final = "lockkeeper.began"  # by perf_counter


def register(app: Flask, *, cors_origins: Sequence[str]) -> None:
    app.wsgi_app = _Around(app.wsgi_app)  # type: ignore[method-assign]  # Flask's documented way
    if cors_origins:
        app.after_request(_Cors(frozenset(cors_origins)))


class _Around:
    """Gives each request its id and its line in the log, and each answer its headers.

    Around the application, however an answer came about, and where headers are plain pairs: Flask
    checks each one that is set.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._random = Random()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = environ[ID] = given if _GIVEN_ID.fullmatch(given) else self._new_id()
        environ[BEGAN] = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        ours = HTTPS_HEADERS if environ["wsgi.url_scheme"] == "https" else HEADERS

        def begin(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            _log(environ, status)
            # A view, or CORS, may have said it its own way.
            said = {name.lower() for name, _ in headers}
            missing = [pair for pair in ours if pair[0].lower() not in said]
            return start_response(
                status, [*headers, *missing, ("X-Request-ID", request_id)], *error
            )

        return self._app(environ, begin)

    def _new_id(self) -> str:
        """To ask the system for random bits gives the interpreter away to a thread that waits."""
        return f"{self._random.getrandbits(128):032x}"


def _log(environ: "WSGIEnvironment", status: str) -> None:
    logs.told(
        "request.served",
        request_id=environ[ID],
        method=environ["REQUEST_METHOD"],
        path=quote(environ["PATH_INFO"], encoding="latin-1"),  # PEP 3333: its bytes, as text
        status=int(status[:3]),
        user_id=environ.get(USER_ID),
        ms=round((time.perf_counter() - environ[BEGAN]) * 1000, 1),
    )


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
