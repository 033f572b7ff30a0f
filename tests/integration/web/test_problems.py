import io
from http import HTTPStatus

import pytest
from flask import Blueprint
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from backend.db import Sessions
from backend.identity.guard import Role, public, requires
from backend.operations import UploadedFile, operation, transaction
from backend.problems import TooManyRequests
from backend.web.app import create_app
from tests.callers import Caller, make_settings

LOGIN = "/api/auth/login"


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: UploadedFile
    label: str = ""


class Tags(BaseModel):
    tag: list[str] | None = None


class Echo(BaseModel):
    text: str


@pytest.fixture
def trial(sessions: Sessions) -> FlaskClient:
    """An API with views that misbehave, and views that take forms and queries."""
    bp = Blueprint("trial", __name__, url_prefix="/api/trial")

    @bp.get("/crash")
    @public
    @operation()
    def crash() -> None:
        raise RuntimeError("postgresql://ada:hunter2@db/prod")

    @bp.get("/slow")
    @public
    @operation()
    def slow() -> None:
        with transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = 1"))
            session.execute(text("SELECT pg_sleep(5)"))

    @bp.get("/later")
    @public
    @operation(problems=[TooManyRequests])
    def later() -> None:
        raise TooManyRequests("Later.", retry_after=7)

    @bp.post("/file")
    @requires(Role.USER, scope="submit")
    @operation(status=HTTPStatus.ACCEPTED)
    def file(form: Form) -> Echo:
        return Echo(text=f"{form.file.filename} {len(form.file.file.read())} {form.label}")

    @bp.get("/tags")
    @public
    @operation()
    def tags(query: Tags) -> Echo:
        return Echo(text=",".join(query.tag or []))

    settings = make_settings(MAX_CONTENT_LENGTH=4096, CORS_ORIGINS="https://ui.example.test")
    return create_app(settings, sessions, blueprints=[bp]).test_client()


def upload(name: str, data: bytes, **fields: str) -> dict[str, object]:
    return {"data": {"file": (io.BytesIO(data), name), **fields}}


def test_an_error_is_a_problem_document_with_one_sentence(client: FlaskClient) -> None:
    answer = client.get("/api/nothing")

    problem = answer.get_json()
    assert answer.mimetype == "application/problem+json"
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert {"type", "title", "status", "detail", "code", "error"} <= problem.keys()
    assert (problem["status"], problem["title"]) == (404, "Not Found")
    assert problem["error"] == problem["detail"]


def test_a_wrong_method_names_the_right_ones(client: FlaskClient) -> None:
    answer = client.get(LOGIN)

    assert answer.status_code == 405
    assert answer.get_json()["code"] == "method-not-allowed"
    assert "POST" in answer.headers["Allow"]


def test_a_crash_tells_nothing_but_where_to_look(trial: FlaskClient) -> None:
    with capture_logs(processors=[merge_contextvars]) as logged:
        answer = trial.get("/api/trial/crash", headers={"X-Request-ID": "find-me"})

    assert answer.status_code == 500
    assert answer.get_json()["code"] == "internal"
    assert answer.get_json()["request_id"] == "find-me"
    assert "hunter2" not in answer.text
    [crash] = [line for line in logged if line["event"] == "request.crashed"]
    assert crash["request_id"] == "find-me"
    assert isinstance(crash["exc_info"], RuntimeError)


def test_a_request_id_that_could_forge_a_log_line_is_replaced(client: FlaskClient) -> None:
    answer = client.get("/health", headers={"X-Request-ID": "a b"})

    assert len(answer.headers["X-Request-ID"]) == 32


def test_a_database_that_does_not_answer_in_time_is_503(trial: FlaskClient) -> None:
    answer = trial.get("/api/trial/slow")

    assert answer.status_code == 503
    assert "took too long" in answer.get_json()["error"]


def test_a_rate_limit_says_when_to_come_back(trial: FlaskClient) -> None:
    answer = trial.get("/api/trial/later")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed-json"),
        (b'{"username": "a", "username": "b", "password": "x"}', "malformed-json"),
        (b'{"username": "a\\u0000", "password": "x"}', "malformed-json"),
        (b'{"username": "\\ud800", "password": "x"}', "malformed-json"),
        (b'{"username": NaN, "password": "x"}', "malformed-json"),
        (b'{"username": 1e999, "password": "x"}', "malformed-json"),
        (b'{"username": ' + b"9" * 5000 + b', "password": "x"}', "malformed-json"),
        (b"[" * 100_000, "malformed-json"),
        (b"\xff", "malformed-json"),
        (b"", "invalid"),
    ],
)
def test_json_that_readers_disagree_about_is_refused(
    client: FlaskClient, body: bytes, code: str
) -> None:
    answer = client.post(LOGIN, data=body, content_type="application/json")

    assert (answer.status_code, answer.get_json()["code"]) == (400, code)


def test_a_body_that_is_not_json_is_refused_by_its_type(client: FlaskClient) -> None:
    answer = client.post(LOGIN, data={"username": "a", "password": "b"})

    assert answer.status_code == 415


def test_a_json_body_is_at_most_a_mebibyte(client: FlaskClient) -> None:
    answer = client.post(LOGIN, data=b" " * (1024 * 1024 + 1), content_type="application/json")

    assert (answer.status_code, answer.get_json()["code"]) == (413, "request-entity-too-large")


@pytest.fixture
def uploader(trial: FlaskClient, user: Caller) -> Caller:
    return Caller(trial, user.token)


def test_a_file_is_read_with_its_fields(uploader: Caller) -> None:
    answer = uploader("POST", "/api/trial/file", **upload("a.json", b"12345", label="x"))

    assert answer.status_code == 202
    assert answer.get_json() == {"text": "a.json 5 x"}


def test_an_upload_over_the_limit_is_413_and_says_the_limit(uploader: Caller) -> None:
    answer = uploader("POST", "/api/trial/file", **upload("a.json", b"x" * 5000))

    assert answer.status_code == 413
    assert "4096" in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("fields", "place"),
    [({}, "form.file"), ({"file": "text"}, "form.file"), ({"other": "x"}, "form.file")],
)
def test_a_form_without_its_file_names_the_place(
    uploader: Caller, fields: dict[str, str], place: str
) -> None:
    answer = uploader("POST", "/api/trial/file", data=fields)

    assert answer.status_code == 400
    assert answer.get_json()["errors"][0]["place"] == place


def test_text_with_nul_is_refused_in_forms_and_queries(uploader: Caller) -> None:
    form = uploader("POST", "/api/trial/file", **upload("a.json", b"1", label="a\0b"))
    query = uploader("GET", "/api/trial/tags?tag=%00")

    assert (form.status_code, query.status_code) == (400, 400)
    assert "form.label" in form.get_json()["error"]


def test_a_repeated_query_parameter_is_a_list_where_one_is_expected(trial: FlaskClient) -> None:
    assert trial.get("/api/trial/tags?tag=a&tag=b").get_json() == {"text": "a,b"}


def test_the_role_is_checked_before_the_body_is_read(trial: FlaskClient) -> None:
    answer = trial.post("/api/trial/file", data=b"x" * 5000, content_type="text/plain")

    assert answer.status_code == 401


def test_every_answer_carries_the_security_headers(client: FlaskClient) -> None:
    for path in ("/health", "/api/nothing", "/docs"):
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Strict-Transport-Security" not in headers


def test_tls_is_made_permanent(client: FlaskClient) -> None:
    answer = client.get("/health", base_url="https://lockkeeper.example.test")

    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


def test_forwarded_headers_count_only_behind_a_configured_proxy(sessions: Sessions) -> None:
    forwarded = {"X-Forwarded-Proto": "https"}
    direct = create_app(make_settings(), sessions).test_client()
    behind = create_app(make_settings(TRUSTED_PROXIES=1), sessions).test_client()

    seen = [app.get("/health", headers=forwarded).headers for app in (direct, behind)]

    assert ["Strict-Transport-Security" in headers for headers in seen] == [False, True]


def test_a_configured_origin_may_call_and_another_may_not(trial: FlaskClient) -> None:
    ask = {"Access-Control-Request-Method": "POST"}
    known = trial.options(LOGIN, headers={"Origin": "https://ui.example.test", **ask})
    other = trial.options(LOGIN, headers={"Origin": "https://evil.example.test", **ask})

    assert known.status_code == 200
    assert known.headers["Access-Control-Allow-Origin"] == "https://ui.example.test"
    assert "Authorization" in known.headers["Access-Control-Allow-Headers"]
    assert "Origin" in known.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_view_that_does_not_say_who_may_call_it_stops_the_start(sessions: Sessions) -> None:
    bp = Blueprint("careless", __name__)

    @bp.get("/careless")
    @operation()
    def forgotten() -> None:
        """Nobody said who may call this."""

    with pytest.raises(RuntimeError, match=r"careless\.forgotten"):
        create_app(make_settings(), sessions, blueprints=[bp])


def test_each_request_is_one_log_line_with_its_time(client: FlaskClient) -> None:
    with capture_logs() as logged:
        client.get("/api/x%0Aforged")

    [line] = logged
    assert line["event"] == "request.served"
    assert line["path"] == "/api/x%0Aforged"
    assert line["ms"] >= 0


def test_the_log_names_who_was_refused(user: Caller) -> None:
    with capture_logs() as logged:
        answer = user("GET", "/api/admin/users")

    assert answer.status_code == 403
    assert [line["user_id"] for line in logged] == [user.id]


def test_a_blueprint_with_hooks_of_its_own_stops_the_start(sessions: Sessions) -> None:
    bp = Blueprint("hooked", __name__)
    bp.before_request(lambda: None)

    with pytest.raises(RuntimeError, match="hooked"):
        create_app(make_settings(), sessions, blueprints=[bp])
