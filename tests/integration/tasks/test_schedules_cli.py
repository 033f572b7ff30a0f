"""``lockkeeper schedules`` against an API that is served."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from werkzeug.serving import make_server

from backend.cli import main
from backend.identity.roles import Role
from tests.integration.tasks.task_house import TaskHouse

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    task_house: TaskHouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs a command; answers its exit code and what it says."""
    server = make_server("127.0.0.1", 0, task_house.app, threaded=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    monkeypatch.setenv("LOCKKEEPER_URL", f"http://127.0.0.1:{server.port}")

    def run(*arguments: str, role: Role = Role.USER) -> tuple[int, str, str]:
        monkeypatch.setenv("LOCKKEEPER_TOKEN", task_house.people(f"cli-{role}", role).token)
        capsys.readouterr()
        code = main(["schedules", *arguments])
        out, err = capsys.readouterr()
        # The server, which is in this process, logs to the same.
        return code, "".join(it for it in out.splitlines(True) if "request.served" not in it), err

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_schedule_is_added_shown_changed_run_and_removed(run: Run, task_house: TaskHouse) -> None:
    code, out, err = run("list")
    assert (code, out, err) == (0, "there is no schedule\n", "")
    when = ("30 2 * * MON-FRI", "say", "--timezone", "Europe/Berlin", "--not-unique")
    code, out, _ = run("add", "nightly", *when, "-p", "word=hey", "--catch-up", "all")
    assert code == 0
    assert "nightly  30 2 * * MON-FRI Europe/Berlin: say, next 20" in out
    code, out, _ = run("show", "nightly")
    lines = out.splitlines()
    assert lines[1:3] == ["priority 5, catches up: all", 'parameters: {"word": "hey"}']
    assert [line.partition(" ")[0] for line in lines[3:]] == ["due"] * 5

    code, out, _ = run("change", "nightly", "--cron", "0 4 * * *", "--priority", "8", "--unique")
    assert "nightly  0 4 * * * Europe/Berlin: say" in out
    assert "paused" in run("pause", "nightly")[1]
    assert "next 20" in run("resume", "nightly")[1]
    code, out, _ = run("run", "nightly", "--json")
    task = json.loads(out)["task_id"]
    assert task_house.database.one("SELECT priority FROM tasks WHERE task_id = :id", id=task) == 8

    (schedule,) = json.loads(run("list", "--json")[1])["schedules"]
    assert (schedule["priority"], schedule["unique_pending"]) == (8, True)
    assert run("remove", str(schedule["id"])) == (0, f"schedule {schedule['id']} is removed\n", "")
    assert run("list")[1] == "there is no schedule\n"


def test_the_products_own_are_an_admins(run: Run) -> None:
    out = run("list", role=Role.ADMIN)[1]
    assert out.count("the product's own") == 3
    assert run("pause", "cleanup-cache", role=Role.ADMIN)[0] == 0
    assert run("pause", "cleanup-cache", role=Role.APPROVER)[::2] == (
        1, "lockkeeper: There is no schedule 1, or it is somebody else's.\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "nothing"), 1, "there is no schedule nothing"),
        (("show", "99"), 1, "There is no schedule 99, or it is somebody else's."),
        (("show", "9" * 40), 1, "path.id"),
        (("show", "\x1b[2J"), 1, "query.name"),
        (("add", "x", "61 * * * *", "say"), 1, "This cron expression cannot be used: Bad minute."),
        (("add", "x", "* * * * *", "say", "-p", "word"), 2, "-p takes NAME=VALUE"),
        (("add", "x", "* * * * *", "say", "-p", "times=11"), 1, "parameters.times"),
        (("change", "x"), 2, "say what is to be different"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, err = run(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_name_that_several_have_is_not_enough(run: Run) -> None:
    for role in (Role.USER, Role.ADMIN):
        assert run("add", "same", "0 1 * * *", "say", "--paused", role=role)[0] == 0
    assert (
        "several schedules are called same: name one of " in run("show", "same", role=Role.ADMIN)[2]
    )
    assert run("show", "same")[0] == 0
