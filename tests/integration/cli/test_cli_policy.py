"""Policies from the command line: checked here, tested and agreed upon over REST."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from werkzeug.serving import make_server

from backend.cli import main
from backend.db import Sessions
from backend.identity.roles import Role
from backend.web.assembly import assemble
from tests.callers import make_settings
from tests.integration.packages.house import People

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(yaml: str) -> str:
        file = tmp_path / "policy.yaml"
        file.write_text(yaml)
        return str(file)

    return write


@pytest.fixture
def run(
    engine: Engine,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs a command as the admin that is named, against an API that is served."""
    app = assemble(make_settings(), engine)
    people = People(app, app.test_client(), sessions)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    monkeypatch.setenv("LOCKKEEPER_URL", f"http://127.0.0.1:{server.port}")

    def run(*arguments: str, by: str = "root") -> tuple[int, str, str]:
        token = people(by, Role.ADMIN).token
        assert token is not None
        monkeypatch.setenv("LOCKKEEPER_TOKEN", token)
        capsys.readouterr()
        code = main(["policy", *arguments])
        said = capsys.readouterr()
        out = [line for line in said.out.splitlines() if "request.served" not in line]
        return code, "\n".join(out), said.err

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_policy_is_checked_without_any_server(
    write: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["policy", "check", write("version: 1")]) == 0
    assert "is a policy, digest " in capsys.readouterr().out

    wrong = write("version: 1\nfour_eyes: maybe")
    assert main(["policy", "check", wrong]) == 1
    assert "wrong in line 2: four_eyes: should be a valid boolean" in capsys.readouterr().err
    assert main(["policy", "check", wrong, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["line"] == 2
    assert main(["policy", "check", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_policy_is_tested_proposed_and_seconded(run: Run, write: Callable[[str], str]) -> None:
    file = write("version: 1\nfour_eyes: false\ndenied: {packages: [left]}")

    code, told, _ = run("test", file, "--on-history")
    assert code == 0
    assert "loosens four_eyes: true → false" in told
    assert 'changes denied.packages: null → "left"' in told
    assert "0 packages judged, 0 otherwise than now" in told
    code, told, _ = run("propose", file, "--reason", "agreed")
    assert code == 0
    assert "loosens four_eyes: another admin must second it" in told
    assert run("show")[2] == "version 2 waits: it loosens four_eyes\n"
    code, _, said = run("second", "2")
    assert (code, said) == (1, "lockkeeper: Another admin must second what you proposed.\n")
    code, told, _ = run("second", "2", by="toor")
    assert (code, told.splitlines()[-1]) == (
        0, "Policy version 2 is in force; 0 packages are judged again.",
    )  # fmt: skip
    assert run("show")[1].startswith("version: 1\nfour_eyes: false")
    code, _, said = run("propose", file)
    assert (code, said) == (1, "lockkeeper: The policy in force says the same.\n")
