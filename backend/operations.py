"""Typed views: a signature says what is read and answered, is checked, and becomes OpenAPI.

A view may take any of four arguments, each a pydantic model: ``path``, ``query``, ``body`` (JSON)
and ``form`` (multipart; a file is an ``UploadedFile``). It returns a model, None (204) or a
response.

    @bp.post("/things/<id>/notes")
    @requires(Role.USER, scope="submit")
    @operation(status=HTTPStatus.CREATED, problems=[NotFound])
    def add_note(path: ById, body: NoteIn) -> NoteOut:
        with transaction() as session:
            return NoteOut.model_validate(service.add_note(session, path.id, body))

Path parameters are plain ``<id>``: the model converts them, also where they have 5,000 digits.
"""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, wraps
from http import HTTPStatus
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from flask import Response, current_app, g, request
from pydantic import BaseModel, InstanceOf, ValidationError, WithJsonSchema
from sqlalchemy.orm import Session
from werkzeug.exceptions import UnsupportedMediaType

from backend import forms, strictjson
from backend.invalid import wrong_places
from backend.problems import Malformed, Problem
from backend.settings import Settings

JSON_LIMIT = 1024 * 1024  # bytes; a body is a command, documents come as files
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
M = TypeVar("M", bound=BaseModel)

UploadedFile = Annotated[
    InstanceOf[forms.File],
    WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"}),
]


@dataclass(frozen=True, slots=True)
class Operation:
    """What one view reads and answers. ``media_type`` is that of an answer that is no model."""

    reads: Mapping[str, type[BaseModel]]
    answers: type[BaseModel] | None
    status: HTTPStatus
    problems: tuple[type[Problem], ...]
    media_type: str | None


def operation(
    *,
    status: HTTPStatus = HTTPStatus.OK,
    problems: Iterable[type[Problem]] = (),
    media_type: str | None = None,
    streams: type[BaseModel] | None = None,
    lines: type[BaseModel] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Make a function a view.

    Args:
        status: of a success; 204 where the function returns None.
        problems: what it may raise, beyond what its arguments and its role imply.
        media_type: where it returns a response of its own.
        streams: the form that it reads itself, while that arrives.
        lines: what each line is of the JSON lines that it reads itself.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Response]:
        hints = get_type_hints(function)
        answers = hints.pop("return")
        declared = Operation(
            reads=hints | _beside(form=streams, lines=lines),
            answers=_model_in(answers),
            status=HTTPStatus.NO_CONTENT if answers is types.NoneType else status,
            problems=tuple(problems),
            media_type=media_type,
        )

        @wraps(function)
        def view(**path: str) -> Response:
            arguments = {name: _read(name, model, path) for name, model in hints.items()}
            return _response(function(**arguments), declared)

        made = _closing(view) if "form" in hints else view
        made.__dict__["operation"] = declared
        return made

    return declare


def _beside(**read: type[BaseModel] | None) -> dict[str, type[BaseModel]]:
    return {source: model for source, model in read.items() if model is not None}


def _closing(view: Callable[..., Response]) -> Callable[..., Response]:
    """The files of a form are gone with the view that read it."""

    @wraps(view)
    def closing(**path: str) -> Response:
        try:
            return view(**path)
        finally:
            forms.close(g.pop("parts", ()))

    return closing


def transaction() -> AbstractContextManager[Session]:
    """A session that commits at the end of the block, and rolls back where it raises."""
    return cast("AbstractContextManager[Session]", g.sessions.begin())


def settings() -> Settings:
    return cast("Settings", current_app.extensions["lockkeeper"].settings)


def _response(answer: Any, declared: Operation) -> Response:
    if isinstance(answer, Response):
        return answer
    body = answer.model_dump_json(by_alias=True) if answer is not None else b""
    return Response(body, declared.status, mimetype=JSON)


def _read(source: str, model: type[BaseModel], path: Mapping[str, str]) -> BaseModel:
    return validated(source, model, _raw(source, model, path))


def validated(source: str, model: type[M], raw: Any) -> M:
    """What was read, as its model.

    Raises:
        Malformed: code ``invalid``; names each wrong place below ``source``.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _invalid(source, error) from None


def _raw(source: str, model: type[BaseModel], path: Mapping[str, str]) -> Any:
    if source == "body":
        return _json_body()
    if source == "path":
        return {name: _clean(f"path.{name}", text) for name, text in path.items()}
    if source == "query":
        return _fields("query", model, request.args.lists())
    g.parts = forms.parts_of(request)
    given: dict[str, list[Any]] = {}
    for part in g.parts:
        given.setdefault(part.name, []).append(forms.content(part))
    return _fields("form", model, given.items())


def _json_body() -> Any:
    limit = request.max_content_length or JSON_LIMIT
    request.max_content_length = min(limit, JSON_LIMIT)
    data = request.get_data()
    if not data:
        return {}
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"The body must be {JSON}.")
    return strictjson.loads(data)


def _fields(
    source: str, model: type[BaseModel], given: Iterable[tuple[str, Sequence[Any]]]
) -> dict[str, Any]:
    lists = _lists(model)
    found: dict[str, Any] = {}
    for name, values in given:
        clean = [_clean(f"{source}.{name}", value) for value in values]
        if name not in lists and len(clean) > 1:
            raise Malformed(f"{source}.{strictjson.shown(name)} is given {len(clean)} times.")
        found[name] = clean if name in lists else clean[0]
    return found


@cache
def _lists(model: type[BaseModel]) -> frozenset[str]:
    """The fields that may be given several times."""
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if _is_list(field.annotation)
    )


def _clean(place: str, value: Any) -> Any:
    """Text that a database can store; what is not text passes."""
    if isinstance(value, str) and ("\0" in value or not _encodes(value)):
        raise Malformed(f"{strictjson.shown(place)} holds a character that is not allowed.")
    return value


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(source: str, error: ValidationError) -> Malformed:
    errors = wrong_places(source, error)
    first = errors[0]
    return Malformed(f"{first['place']}: {first['message']}.", code="invalid", errors=errors)


def _model_in(answers: Any) -> type[BaseModel] | None:
    """The model among what a view may return; beside it a response of the view's own."""
    members = get_args(answers) or (answers,)
    return next(
        (one for one in members if isinstance(one, type) and issubclass(one, BaseModel)), None
    )


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in {Union, types.UnionType}:
        return any(map(_is_list, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return _is_list(get_args(annotation)[0])
    return get_origin(annotation) in {list, tuple, set, frozenset}
