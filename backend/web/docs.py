"""The description of the API, for programs and for people."""

import json
from functools import cache
from importlib.resources import files

from flask import Blueprint, Response, current_app

from backend.identity.guard import public
from backend.operations import JSON
from backend.web import openapi

bp = Blueprint("docs", __name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


@bp.get("/openapi.json")
@public
def description() -> Response:
    """This document."""
    return Response(_document(), mimetype=JSON)


@bp.get("/docs")
@public
def page() -> Response:
    return _static("docs.html")


@bp.get("/docs/docs.css")
@public
def style() -> Response:
    return _static("docs.css")


@bp.get("/docs/docs.js")
@public
def script() -> Response:
    return _static("docs.js")


def _document() -> str:
    kept: dict[str, str] = current_app.extensions.setdefault("lockkeeper.openapi", {})
    if "json" not in kept:  # once per application: the views do not change while it runs
        kept["json"] = json.dumps(openapi.describe(current_app._get_current_object()))  # type: ignore[attr-defined]  # noqa: SLF001 - the proxy's documented way to its object
    return kept["json"]


def _static(name: str) -> Response:
    response = Response(_content(name), mimetype=TYPES[name.rpartition(".")[2]])
    response.headers["Content-Security-Policy"] = POLICY
    return response


@cache
def _content(name: str) -> bytes:
    return files("backend.web").joinpath("static", name).read_bytes()
