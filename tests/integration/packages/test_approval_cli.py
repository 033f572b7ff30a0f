"""What approvers do on the command line, against an API that is served."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.serving import make_server

from backend import cli
from tests.integration.packages.deciding import status
from tests.integration.packages.house import House

Said = tuple[int, str, str]
Run = Callable[..., Said]


@pytest.fixture
def run(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs a command as an approver; answers exit code, output and errors."""
    server = make_server("127.0.0.1", 0, house.app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    monkeypatch.setenv("LOCKKEEPER_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("LOCKKEEPER_TOKEN", house.people.approver.token)

    def run(*arguments: Any) -> Said:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        shown, error = capsys.readouterr()
        return code, _without_log(shown), error

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


def _without_log(shown: str) -> str:
    """The server runs in this process, and says what it served."""
    lines = shown.splitlines(keepends=True)
    return "".join(line for line in lines if "request.served" not in line)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_approver_looks_decides_and_takes_back(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = house.vet(house.lock("left", "right", "up", "down"))
    request_id = detail["request"]["id"]
    ids = {package["name"]: package["id"] for package in detail["packages"]}

    code, shown, _ = run("waiting")
    assert code == 0
    assert all(name in shown for name in ids)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, error = run("approve", ids["left"])
    assert (code, "--yes" in error) == (2, True)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run("approve", ids["left"])[0] == 130
    assert status(house, ids["left"]) == "Pending Approval"
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    code, shown, _ = run("approve", ids["left"], "--reason", "looked at it")
    assert (code, "1 package approved" in shown) == (0, True)
    code, shown, _ = run("approve", ids["left"], ids["right"], "--yes", "--json")
    assert (code, json.loads(shown)["package_ids"]) == (1, [ids["right"]])

    code, _, error = run("reject", ids["left"], ids["up"], "--reason", "no")
    assert (code, f"{ids['left']}: It does not wait" in error) == (1, True)
    code, shown, error = run("publish", ids["left"], ids["up"])
    assert (code, shown) == (1, "1 package queued for publishing\n")
    assert f"{ids['up']}: " in error
    assert run("publish", "--request", request_id)[0] == 0
    code, shown, _ = run("recall", ids["right"], "--reason", "a backdoor")
    assert (code, shown) == (0, f"Package {ids['right']} waits for approval again.\n")
    code, shown, _ = run("where-used", "pkg:npm/left")
    assert (code, "shop 1.2.3" in shown, "node_modules/left" in shown) == (0, True, True)
    code, shown, _ = run("deny", "pkg:npm/down@<2", "--reason", "CVE-1")
    assert (code, shown) == (0, "down <2 is denied: 1 packages refused, 0 recalled.\n")
    code, _, error = run("deny", "pkg:npm/down@banana", "--reason", "CVE-1")
    assert (code, error.count("\n")) == (1, 1)
    assert run("approve", "--request", request_id, "--yes")[1] == "1 package approved\n"
    assert run("approve", "--request", request_id, "--yes")[0] == 1
    assert run("approve", "--yes")[0] == 2
    found = [status(house, ids[name]) for name in ("left", "right", "up", "down")]
    assert found == ["Approved", "Approved", "Rejected", "Rejected"]
