import subprocess
import sys

import click
import pytest

from backend import cli
from backend.cli.errors import CommandError, Stopped

HEAVY = {"sqlalchemy", "pydantic", "flask", "rich", "urllib3", "alembic", "granian", "structlog"}


def test_help_loads_nothing_heavy_and_documents_the_exit_codes() -> None:
    program = (
        "import sys; from backend.cli import main; code = main(['--help']);"
        f"print(sorted({HEAVY!r} & set(sys.modules)), code)"
    )

    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert said.splitlines()[-1] == "[] 0"
    assert "Exit codes: 0 done" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CommandError("no\nway", 3), 3, "no way"),
        (click.UsageError("wrong"), 2, "wrong"),
        (Stopped(15), 143, "stopped"),
        (KeyboardInterrupt(), 130, "stopped"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "x: No such file or directory"),
    ],
)
def test_every_end_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)

    assert cli.main([]) == code
    assert capsys.readouterr().err == f"lockkeeper: {said}\n"


def test_an_error_of_ours_names_its_place_and_shows_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(cli.cli, "main", fail)

    assert cli.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lockkeeper: internal error at test_cli_main.py:")
    assert line.endswith("ZeroDivisionError: oh")


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = f"{sys.executable} -m backend.cli --help | true"

    finished = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)

    assert finished.stderr == ""
