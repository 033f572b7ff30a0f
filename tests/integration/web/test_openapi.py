from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from backend.identity.roles import Role
from backend.web.assembly import assemble
from tests.callers import AddUser, Caller, SignIn, make_settings


@pytest.fixture
def app(engine: Engine) -> Flask:
    """With every workload, so that every operation there is gets called."""
    return assemble(make_settings(), engine)


METHODS = {"get", "post", "put", "patch", "delete"}


def operations(app: Flask) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path with the parameters filled in, description."""
    document = app.test_client().get("/openapi.json").get_json()
    for template, item in document["paths"].items():
        for method in METHODS & item.keys():
            path = template
            for parameter in item[method].get("parameters", ()):
                if parameter["in"] == "path":
                    example = "1" if parameter["schema"].get("type") == "integer" else "x"
                    path = path.replace(f"{{{parameter['name']}}}", example)
            yield method.upper(), path, item[method]


def test_the_description_is_openapi_31_and_names_every_view(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    described = {one["operationId"] for _, _, one in operations(app)}
    views = {name.replace(".", "_") for name, view in app.view_functions.items()}

    assert document["openapi"] == "3.1.0"
    assert views - described == {
        "docs_description", "docs_page", "docs_style", "docs_script",
    }  # fmt: skip


def test_every_reference_leads_somewhere(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    references: list[str] = []
    todo: list[Any] = [document]
    while todo:
        found = todo.pop()
        if isinstance(found, dict):
            references += [found["$ref"]] if "$ref" in found else []
            todo += found.values()
        elif isinstance(found, list):
            todo += found

    assert references
    for reference in references:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_every_operation_says_who_may_call_it_and_how_it_refuses(app: Flask) -> None:
    for _, _, described in operations(app):
        guarded = "x-required-role" in described
        assert described["security"] == ([{"bearer": []}] if guarded else [])
        assert {"401", "403"} <= described["responses"].keys() or not guarded
        assert described["summary"]


def test_every_operation_refuses_who_has_no_token(app: Flask, client: FlaskClient) -> None:
    guarded = [one for one in operations(app) if "x-required-role" in one[2]]

    assert guarded
    for method, path, _ in guarded:
        for body in (None, {"not": "valid"}):
            answer = client.open(path, method=method, json=body)
            assert (method, path, answer.status_code) == (method, path, 401)


def test_every_operation_refuses_a_lower_role_before_it_looks_at_the_request(
    app: Flask, client: FlaskClient, add_user: AddUser, sign_in: SignIn
) -> None:
    callers: dict[Role, Caller] = {}
    for role in Role:
        add_user(role.value, role)
        callers[role] = sign_in(role.value)

    seen: set[int] = set()
    for role, (method, path, described) in product(Role, operations(app)):
        required = described.get("x-required-role")
        if required is None or role.includes(Role(required)):
            continue
        answer = callers[role](method, path, data=b"{", content_type="application/json")
        assert (method, path, role, answer.status_code) == (method, path, role, 403)
        seen.add(answer.status_code)

    assert seen == {403}


def test_every_operation_admits_the_role_it_names(
    app: Flask, add_user: AddUser, sign_in: SignIn
) -> None:
    # Some operations end sessions: the caller's, or those of the user with number one.
    for name in ("first", "leaving", "root"):
        add_user(name, Role.ADMIN)
    root = sign_in("root")
    for method, path, described in operations(app):
        if "x-required-role" in described:
            call = sign_in("leaving") if path.startswith("/api/auth") else root
            with call(method, path, data=b"{", content_type="application/json") as answer:
                assert answer.status_code not in {401, 403, 500}, (method, path, answer.status)
                assert str(answer.status_code) in described["responses"], (method, path)


@pytest.mark.parametrize(
    ("path", "mimetype"),
    [
        ("/docs", "text/html"),
        ("/docs/docs.css", "text/css"),
        ("/docs/docs.js", "text/javascript"),
        ("/openapi.json", "application/json"),
    ],
)
def test_the_docs_are_public(client: FlaskClient, path: str, mimetype: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.mimetype) == (200, mimetype)


def test_the_docs_page_needs_nothing_that_its_policy_forbids(client: FlaskClient) -> None:
    page = client.get("/docs")

    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "style=" not in page.text
    assert "<script src=" in page.text
    assert "http" not in page.text
