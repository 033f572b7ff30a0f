"""Tasks in words: what is shown of them, and that no stranger's text moves the terminal."""

from typing import Any

import pytest

from backend.cli import task_parameters, task_words

HOSTILE = "evil\x1b[2J\x07\x9b\N{RIGHT-TO-LEFT OVERRIDE}\nname"


def task(**differs: Any) -> dict[str, Any]:
    plain = {
        "task_id": "0-1", "task_type": "say", "queue": "default", "status": "pending",
        "priority": 5, "user_id": 3, "submitted_by": 3, "next_attempt_at": None,
        "duration_seconds": None, "progress": 0, "progress_message": None, "attempts": 0,
        "max_attempts": 4, "failure": None, "error_message": None, "result": None,
        "result_expired": False,
    }  # fmt: skip
    return {**plain, **differs}


def test_a_running_task_says_how_far_it_is() -> None:
    running = task(status="running", progress=40, progress_message="fitted 3 of 8", attempts=1)

    assert task_words.state(running) == "running 40 %: fitted 3 of 8"
    assert list(task_words.outcome(running)) == [
        "0-1  running   40 %  say",
        "queue default, priority 5, attempt 1 of 4",
        "fitted 3 of 8",
    ]
    assert not task_words.ended(running)


def test_a_task_that_ended_says_what_came_of_it() -> None:
    done = task(status="completed", progress=100, duration_seconds=0.417, result={"said": "é"})
    failed = task(status="failed", failure="permanent", error_message="no samples", user_id=7)

    assert list(task_words.outcome(done))[1:] == [
        "queue default, priority 5, attempt 0 of 4, 0.42 s",
        '{\n  "said": "\\u00e9"\n}',
    ]
    assert list(task_words.outcome(failed))[::2] == [
        "0-1  failed     say, about user 7 (permanent)", "error: no samples",
    ]  # fmt: skip
    expired = task(status="completed", result_expired=True)
    assert list(task_words.outcome(expired))[-1] == "its result has expired"
    later = task(error_message="busy", next_attempt_at="2027-01-01T00:00:00Z")
    assert task_words.state(later) == "to be tried again: busy"
    assert task_words.heading(later).endswith("say, not before 2027-01-01T00:00:00Z")


def test_a_type_shows_its_parameters() -> None:
    kind = {
        "name": "say", "title": "Say", "description": "Says a word.", "allowed": False,
        "role": "admin", "queue": "default", "subject": "one", "limit_seconds": 1800.0,
        "parameters": {
            "required": ["word"],
            "properties": {
                "word": {"type": "string", "minLength": 1, "description": "What to say."},
                "times": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1},
                "user_id": {"anyOf": [], "default": None},
            },
        },
    }  # fmt: skip

    assert list(task_words.type_page(kind)) == [
        "say  Say: word, times, user_id  (needs admin)",
        "Says a word.",
        "queue default, about one user's data; at most 1800 s",
        "  word (string, length from 1, required): What to say.",
        "  times (integer, from 0, to 9, default 1)",
        "  user_id",
    ]


def test_no_text_of_a_stranger_moves_the_terminal() -> None:
    hostile = task(
        status="failed", task_type=HOSTILE, error_message=HOSTILE, progress_message=HOSTILE,
        failure=HOSTILE,
    )  # fmt: skip
    result = {"status": "completed", "result": {HOSTILE: HOSTILE}}
    lines = [
        *task_words.outcome(hostile),
        task_words.state({**hostile, "status": "running"}),
        task_words.state({**hostile, "status": "pending"}),
        *"\n".join(task_words.outcome(task(**result))).splitlines(),
    ]

    assert any("evil" in line for line in lines)
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("n=48", 48), ("n=0.5", 0.5), ("n=true", True), ("n=null", None), ("n=[1, 2]", [1, 2]),
        ("n=a word", "a word"), ('n="48"', "48"), ("n=", ""), ("n=a=b", "a=b"), ("n=NaN", "NaN"),
    ],
)  # fmt: skip
def test_a_parameter_is_json_where_it_is_that_and_text_otherwise(given: str, meant: Any) -> None:
    assert task_parameters._parameter(given) == ("n", meant)
