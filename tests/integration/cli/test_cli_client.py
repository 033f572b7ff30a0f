"""The command line against servers that are not there, or are something else."""

import socket
from pathlib import Path

import pytest

from tests.command_line import environment, error_line, lockkeeper
from tests.registry_server import Answer, RegistryServer

REQUESTS = "/api/packages/requests"


def problem(status: int, sentence: str) -> Answer:
    return Answer.json({"error": sentence, "code": "x", "status": status}, status)


def test_a_server_that_is_not_there_is_exit_code_three(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and not listening: nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        finished = lockkeeper(
            "status", env=environment(tmp_path, LOCKKEEPER_URL=url, LOCKKEEPER_TOKEN="t")
        )

    assert finished.returncode == 3
    assert error_line(finished) == f"cannot reach {url}: connection refused"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (problem(413, "The file is too large."), 1, "The file is too large."),
        (
            problem(422, "Not \x1b[31ma lock\nfile."),
            1,
            "Not \N{REPLACEMENT CHARACTER}[31ma lock file.",
        ),
        (problem(401, "The token has expired."), 1, "Get a token with `lockkeeper token NAME`."),
        (problem(503, "The database is away."), 3, "answers 503: The database is away."),
        (Answer(body=b"<html>"), 3, "does not answer like a Lockkeeper server (status 200)"),
        (Answer(502, b"<html>"), 3, "does not answer like a Lockkeeper server (status 502)"),
        (Answer.redirect("http://192.0.2.1/"), 3, "does not answer like a Lockkeeper server"),
        (Answer(raw=b""), 3, "the connection broke off"),
    ],
)
def test_every_answer_that_is_no_success_is_one_line(
    tmp_path: Path, answer: Answer, code: int, said: str
) -> None:
    with RegistryServer() as server:
        server.answer(REQUESTS, answer)
        env = environment(tmp_path, LOCKKEEPER_URL=server.url, LOCKKEEPER_TOKEN="t")
        finished = lockkeeper("status", env=env)

    assert finished.returncode == code
    assert said in error_line(finished)
    assert finished.stdout == ""


def test_the_token_is_sent_as_a_bearer_token_and_no_proxy_sees_it(tmp_path: Path) -> None:
    with RegistryServer() as server, RegistryServer() as proxy:
        server.answer(REQUESTS, Answer.json({"requests": [], "next": None}))
        env = environment(
            tmp_path, LOCKKEEPER_URL=server.url, LOCKKEEPER_TOKEN="lk_t", http_proxy=proxy.url
        )
        finished = lockkeeper("status", env=env)

    assert finished.stdout == "There is no request yet.\n"
    assert server.requests[0].headers["authorization"] == "Bearer lk_t"
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LOCKKEEPER_TOKEN": "t"}, "LOCKKEEPER_URL is not set: give the server's address"),
        (
            {"LOCKKEEPER_URL": "ftp://x", "LOCKKEEPER_TOKEN": "t"},
            "LOCKKEEPER_URL must be an http:// or https:// URL",
        ),
        (
            {"LOCKKEEPER_URL": "http://127.0.0.1:9"},
            "LOCKKEEPER_TOKEN is not set: get one with `lockkeeper token NAME`",
        ),
    ],
)
def test_what_the_environment_lacks_is_wrong_usage(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    finished = lockkeeper("status", env=environment(tmp_path, **variables))

    assert finished.returncode == 2
    assert error_line(finished) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'."),
        (["status", "0"], "Invalid value for '[REQUEST_ID]': 0 is not in the range x>=1."),
        (["submit"], "Missing argument 'LOCKFILE'."),
        (["submit", "x", "--fail-on", "rejected"], "--fail-on needs --wait"),
        (["retry", "1", "--include-rejected"], "--include-rejected needs --reason"),
        (["up", "--port", "0"], "Invalid value for '--port': 0 is not in the range 1<=x<=65535."),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    finished = lockkeeper(*arguments, env=environment(tmp_path))

    assert finished.returncode == 2
    assert error_line(finished) == said
