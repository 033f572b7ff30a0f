"""``lockkeeper tasks`` against an API that is served, and a worker that does what is due."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from werkzeug.serving import make_server

from backend.cli import main
from backend.identity.roles import Role
from tests.integration.packages.house import wait_until
from tests.integration.tasks.task_house import TaskHouse


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(
    task_house: TaskHouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    server = make_server("127.0.0.1", 0, task_house.app, threaded=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    monkeypatch.setenv("LOCKKEEPER_URL", f"http://127.0.0.1:{server.port}")

    def run(*arguments: str, role: Role = Role.USER) -> Ended:
        monkeypatch.setenv("LOCKKEEPER_TOKEN", task_house.people(f"cli-{role}", role).token)
        capsys.readouterr()
        code = main(["tasks", *arguments])
        return Ended(code, *_of_commands(*capsys.readouterr()))

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


def _of_commands(out: str, err: str) -> tuple[str, str]:
    """Without the lines that the server, which is in this process, logs."""
    kept = [line for line in out.splitlines() if "request.served" not in line]
    return "\n".join(kept), err


@contextmanager
def somebody_works(house: TaskHouse) -> Iterator[None]:
    """On one task, as soon as there is one."""

    def work() -> None:
        house.finish(wait_until(house.claim, seconds=20, what="a task waits")[0])

    worker = threading.Thread(target=work)
    worker.start()
    yield
    worker.join()


def test_a_task_is_submitted_followed_and_shown(
    task_house: TaskHouse, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "parameters.json"
    file.write_text('{"word": "ho", "times": 1}')
    with somebody_works(task_house):
        done = run("submit", "say", "--parameters", f"@{file}", "-p", "times=3", "--wait", "--json")
    task = json.loads(done.out)
    assert (done.code, task["result"]["said"]) == (0, "hohoho")

    shown = run("show", task["task_id"])
    assert shown.out.splitlines()[0] == f"{task['task_id']}  completed  say"
    assert run("watch", task["task_id"]).out == shown.out
    with somebody_works(task_house):
        failed = run("submit", "say", "-p", "times=0", "--wait", "--priority", "9")
    assert failed.code == 1
    assert "error: there is nothing to say" in failed.out
    task_id = failed.out.split()[0]
    assert run("retry", task_id).out == f"task {task_id} waits again"
    assert run("cancel", task_id).out == f"task {task_id} is cancelled"
    again = run("cancel", task_id)
    assert (again.code, again.out) == (1, "")
    assert again.err == f"lockkeeper: Task {task_id} is cancelled: there is nothing to cancel.\n"


def test_tasks_are_listed_and_those_of_others_are_not_there(run: Run) -> None:
    first = run("submit", "say", "--unique", "--delay", "600").out.split()[1].rstrip(":")
    again = run("submit", "say", "--unique", "--json")
    assert json.loads(again.out)["task_id"] == first
    second = json.loads(run("submit", "say_of_all", "--json").out)["task_id"]

    listed = run("list", "--status", "pending", "--limit", "1")
    assert listed.out == f"{second}  pending    say_of_all"
    assert listed.err == "2 tasks; more with --offset 1\n"
    both = json.loads(run("list", "--status", "pending", "--json").out)
    assert [task["task_id"] for task in both["tasks"]] == [second, first]
    assert run("list", role=Role.APPROVER).out == "there is no such task"
    assert run("list", "--type", "tidy", role=Role.ADMIN).out == "there is no such task"
    other = run("show", first, role=Role.APPROVER)
    assert (other.code, other.err) == (1, f"lockkeeper: There is no task {first}.\n")


def test_types_are_listed_and_shown(run: Run) -> None:
    lines = run("types").out.splitlines()
    assert "say  Say: user_id, word, times" in lines
    assert "tidy  Tidy: dry_run  (needs admin)" in lines
    assert "  times (integer, from 0, to 9, default 1)" in run("types", "say").out
    assert run("types", "nope").code == 1


def test_what_is_wrong_is_one_line_and_an_exit_code(run: Run, tmp_path: Path) -> None:
    for wrong, code in (
        (("submit", "say", "-p", "times=99"), 1),
        (("submit", "nope"), 1),
        (("submit", "tidy"), 1),
        (("submit", "say", "-p", "times"), 2),
        (("submit", "say", "--parameters", "[1]"), 2),
        (("submit", "say", "--parameters", "[" * 100_000), 2),
        (("submit", "say", "--parameters", f"@{tmp_path}/nothing"), 2),
        (("show", "7"), 2),
        (("retry", str(uuid4())), 1),
    ):
        ended = run(*wrong)
        assert (ended.code, ended.out) == (code, ""), ended
        assert ended.err.startswith("lockkeeper: ")
        assert ended.err.count("\n") == 1
