"""``explain``: what it asks the server, and how it shows the answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Finished, environment, error_line, lockkeeper
from tests.registry_server import Answer, RegistryServer

HOSTILE, SHOWN = "\x1b[31mstatus 503", "\N{REPLACEMENT CHARACTER}[31mstatus 503"
PATH = "/api/queues/packages/7/explain"
ANSWER: dict[str, Any] = {
    "queue": "packages",
    "id": 7,
    "status": "Requested",
    "reason": "backing-off",
    "sentence": f"Attempt 1 of 4 failed: {HOSTILE}. It is tried again after noon.",
    "facts": {"attempts": 1, "step": None, "error": HOSTILE},
    "next_at": "2020-01-01T12:00:00Z",
}


def explain(home: Path, server: RegistryServer, *arguments: str) -> Finished:
    env = environment(home, LOCKKEEPER_URL=server.url, LOCKKEEPER_TOKEN="t")
    return lockkeeper("explain", *arguments, env=env)


def test_an_explanation_is_a_sentence_and_its_facts(tmp_path: Path) -> None:
    with RegistryServer() as server:
        server.answer(PATH, Answer.json(ANSWER))
        finished = explain(tmp_path, server, "packages", "7")

    assert finished.returncode == 0
    assert [line.rstrip() for line in finished.stdout.splitlines()] == [
        "packages 7: Requested  backing-off",
        f"Attempt 1 of 4 failed: {SHOWN}. It is tried again after noon.",
        "  attempts  1",
        f"  error     {SHOWN}",
        "  next_at   2020-01-01 12:00:00 UTC",
    ]


def test_json_is_the_servers_answer(tmp_path: Path) -> None:
    with RegistryServer() as server:
        server.answer(PATH, Answer.json(ANSWER))
        finished = explain(tmp_path, server, "packages", "7", "--json")

    assert (finished.returncode, json.loads(finished.stdout)) == (0, ANSWER)


def test_a_queue_is_one_part_of_the_path_whatever_is_in_its_name(tmp_path: Path) -> None:
    with RegistryServer() as server:
        explain(tmp_path, server, "../users?x", "7")
        asked = [request.path for request in server.requests]

    assert asked == ["/api/queues/..%2Fusers%3Fx/7/explain"]


def test_a_row_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    missing = {"error": "There is no row 7 in the queue packages.", "code": "not_found"}
    with RegistryServer() as server:
        server.answer(PATH, Answer.json(missing, 404))
        finished = explain(tmp_path, server, "packages", "7")

    assert finished.returncode == 1
    assert error_line(finished) == missing["error"]


@pytest.mark.parametrize("row_id", ["0", "seven"])
def test_an_id_that_is_none_is_wrong_usage(tmp_path: Path, row_id: str) -> None:
    finished = lockkeeper("explain", "packages", "--", row_id, env=environment(tmp_path))

    assert finished.returncode == 2
    assert "Invalid value for 'ID'" in error_line(finished)
