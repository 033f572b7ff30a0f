"""How an answer leaves: whole where it is there as a whole, and as Flask has it otherwise."""

from collections.abc import Iterable
from typing import Any

import pytest
from flask import Response
from werkzeug.test import create_environ

from backend.web.answers import Answer


def sent(answer: Response, method: str = "GET") -> tuple[Iterable[bytes], dict[str, str]]:
    headers: dict[str, str] = {}

    def start(_status: str, given: list[tuple[str, str]], *_error: Any) -> Any:
        headers.update(given)

    return answer(create_environ(method=method), start), headers


def test_a_body_that_is_there_is_a_list_and_what_waits_for_its_end_is_told() -> None:
    answer, ended = Answer('{"a":1}', mimetype="application/json"), []
    answer.call_on_close(lambda: ended.append(True))

    body, headers = sent(answer)

    assert body == [b'{"a":1}']
    assert headers["Content-Length"] == "7"
    assert ended == [True]


@pytest.mark.parametrize(
    ("answer", "method", "expected"),
    [
        (Answer("text"), "HEAD", b""),
        (Answer(status=204), "GET", b""),
        (Answer(status=304), "GET", b""),
        (Answer(["a", "b"]), "GET", b"ab"),
        (Answer(iter([b"a", b"b"])), "GET", b"ab"),
        (Answer("there", 302, {"Location": "/ä"}), "GET", b"there"),
    ],
)
def test_all_else_leaves_as_flask_has_it(answer: Answer, method: str, expected: bytes) -> None:
    body, headers = sent(answer, method)

    assert not isinstance(body, list)
    assert b"".join(body) == expected
    assert headers.get("Location", "/%C3%A4") == "/%C3%A4"
    assert "Content-Length" not in headers or answer.status_code not in (204, 304)
