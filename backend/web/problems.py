"""Every error leaves as a problem document (RFC 9457) with a stable code and one sentence."""

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, current_app, json, request
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as HTTPNotFound

from backend.driver import WRITES_REFUSED
from backend.problems import Problem
from backend.web.hardening import ID

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
_AWAY = "The database cannot be reached now: try again."
_LATE = "The database took too long: another transaction may hold its rows. Try again."
_WHY = {  # by SQLSTATE
    "57014": _LATE,  # query_canceled
    "55P03": _LATE,  # lock_not_available
    WRITES_REFUSED: "The database takes no writes now: another may take over. Try again.",
}

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(InterfaceError, _database)
    app.register_error_handler(InternalError, _database_internal)
    app.register_error_handler(PoolTimeout, _database)
    app.register_error_handler(Exception, _unexpected)


def document(status: int, detail: str, code: str, extra: dict[str, Any] | None = None) -> Response:
    """A problem document. ``error`` repeats ``detail`` for callers that know only that name."""
    members = {
        **(extra or {}),
        "type": f"urn:lockkeeper:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "error": detail,
        "request_id": request.environ.get(ID),
    }
    return Response(json.dumps(members), status, mimetype=MEDIA_TYPE)


def _problem(problem: Problem) -> Response:
    response = document(problem.status, problem.detail, problem.code, problem.extra)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    if "retry_after" in problem.extra:
        response.headers["Retry-After"] = str(problem.extra["retry_after"])
    return response


def _http(error: HTTPException) -> Response:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return Response.force_type(error.get_response())  # type: ignore[return-value]  # flask's own class
    status = HTTPStatus(error.code)
    detail = error.description or status.phrase
    if isinstance(error, HTTPNotFound):
        detail = "There is nothing at this address: /docs lists what there is."
    if isinstance(error, RequestEntityTooLarge):
        limit = current_app.config["MAX_CONTENT_LENGTH"]
        detail = f"The request is larger than is allowed here (files: {limit} bytes)."
    response = document(status, detail, status.phrase.lower().replace(" ", "-"))
    for name, value in error.get_headers():
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = value
    return response


def _database(error: Exception) -> Response:
    cause = getattr(error, "orig", None)
    # The driver's own first line: no statement and no parameters, and one line for each request.
    log.warning("database.unavailable", error=type(error).__name__,
                reason=str(cause or "").partition("\n")[0])  # fmt: skip
    code = getattr(cause, "pgcode", None) or ""
    response = document(503, _WHY.get(code, _AWAY), "unavailable")
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _database_internal(error: InternalError) -> Response:
    code = getattr(error.orig, "pgcode", None)
    return _database(error) if code == WRITES_REFUSED else _unexpected(error)


def _unexpected(error: Exception) -> Response:
    log.error("request.crashed", exc_info=error)
    return document(
        500, "Something went wrong here: report the request_id to the operator.", "internal"
    )
