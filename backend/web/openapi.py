"""The OpenAPI 3.1 description, read off the views: nothing in it is written twice."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, Literal

from flask import Flask
from pydantic.json_schema import models_json_schema

from backend import problems
from backend.identity.guard import Requirement
from backend.operations import JSON, JSON_LINES, Operation
from backend.problems import Problem
from backend.web.problems import MEDIA_TYPE

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MEDIA_TYPES = {"body": JSON, "form": "multipart/form-data", "lines": JSON_LINES}
PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457; `error` repeats `detail`. Further members depend on `code`.",
    "required": ["type", "title", "status", "detail", "code", "error", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence a person can act on."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "error": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
Mode = Literal["validation", "serialization"]
Schemas = dict[tuple[Any, Mode], dict[str, Any]]  # by model and direction


@dataclass(frozen=True, slots=True)
class Route:
    path: str
    method: str
    endpoint: str
    summary: str
    description: str
    operation: Operation
    requirement: Requirement | None


def describe(app: Flask) -> dict[str, Any]:
    """The document for every view of ``app`` that is an ``operation``."""
    routes = sorted(_routes(app), key=lambda route: (route.path, METHODS.index(route.method)))
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockkeeper",
            "version": version("lockkeeper"),
            "description": "Errors are problem documents with a stable `code`.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token of /api/auth/login, or an API key (`lk_…`).",
                }
            },
        },
    }


def _routes(app: Flask) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        declared = view.__dict__.get("operation")
        if declared is None:
            continue
        summary, _, rest = cleandoc(view.__doc__ or rule.endpoint).partition("\n")
        for method in sorted((rule.methods or set()) & set(METHODS)):
            yield Route(
                path=template(rule.rule),
                method=method,
                endpoint=rule.endpoint,
                summary=summary.rstrip("."),
                description=rest.strip(),
                operation=declared,
                requirement=view.__dict__["requirement"],
            )


def template(path: str) -> str:
    """A route as paths are written here: ``/api/things/{id}``."""
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", path)


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[tuple[Any, Mode], None] = {}
    for route in routes:
        for model in route.operation.reads.values():
            wanted[model, "validation"] = None
        if route.operation.answers:
            wanted[route.operation.answers, "serialization"] = None
    found, document = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    components = document.get("$defs", {})
    return {key: _resolved(schema, components) for key, schema in found.items()}, components


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The reference, with the members of what it refers to beside it, for lists of parameters."""
    return {"$ref": schema["$ref"], "of": components[schema["$ref"].rpartition("/")[2]]}


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": route.endpoint.replace(".", "_"),
        "tags": [route.endpoint.partition(".")[0]],
        "summary": route.summary,
        "responses": _responses(route, schemas),
    }
    if route.description:
        described["description"] = route.description
    if route.requirement:
        described["security"] = [{"bearer": []}]
        described["x-required-role"] = route.requirement.role.value
        if route.requirement.scope:
            described["x-required-scope"] = route.requirement.scope.value
    else:
        described["security"] = []
    reads = route.operation.reads
    parameters = [
        parameter
        for place in ("path", "query")
        if place in reads
        for parameter in _parameters(place, schemas[reads[place], "validation"]["of"])
    ]
    if parameters:
        described["parameters"] = parameters
    for source, media_type in MEDIA_TYPES.items():
        if source in reads:
            reference = schemas[reads[source], "validation"]
            described["requestBody"] = {
                "required": bool(reference["of"].get("required")),
                "content": {media_type: {"schema": {"$ref": reference["$ref"]}}},
            }
    return described


def _parameters(place: str, model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, schema in model["properties"].items():
        yield {
            "name": name,
            "in": place,
            "required": place == "path" or name in model.get("required", ()),
            "schema": schema,
        }


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    declared = route.operation
    success: dict[str, Any] = {"description": declared.status.phrase}
    if declared.answers:
        reference = {"$ref": schemas[declared.answers, "serialization"]["$ref"]}
        success["content"] = {JSON: {"schema": reference}}
    elif declared.media_type:
        success["content"] = {declared.media_type: {"schema": {"type": "string"}}}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals = {
        str(int(status)): {"description": status.phrase, "content": content}
        for status in sorted(_refusals(route))
    }
    return {str(int(declared.status)): success, **refusals}


def _refusals(route: Route) -> set[HTTPStatus]:
    statuses = {problem.status for problem in _implied(route)}
    if route.operation.reads.keys() & {"body", "lines"}:
        statuses.add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return statuses


def _implied(route: Route) -> Iterator[type[Problem]]:
    yield from route.operation.problems
    yield problems.Unavailable
    if route.requirement:
        yield problems.Unauthorized
        yield problems.Forbidden
    if route.operation.reads:
        yield problems.Malformed
    if route.operation.reads.keys() & MEDIA_TYPES.keys():
        yield problems.TooLarge
