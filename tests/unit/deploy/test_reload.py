"""The reloader of the development set-up, as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import REPOSITORY

RELOAD = REPOSITORY / "deploy" / "dev" / "reload.py"
PART = """
import os, signal, sys
def ended(*_):
    os.write(1, b"ended\\n")
    sys.exit(7)
signal.signal(signal.SIGTERM, ended)
os.write(1, f"running {sys.argv[1]}\\n".encode())
while True:
    signal.pause()
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code" / "deeper"
    folder.mkdir(parents=True)
    (folder / "part.py").write_text(PART)
    return folder / "part.py"


@pytest.fixture
def process(code: Path) -> Iterator[subprocess.Popen[str]]:
    folder = code.parent.parent
    command: list[str | Path] = [
        sys.executable,
        RELOAD,
        folder,
        "--",
        sys.executable,
        code,
        "--",
        "an argument",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        yield run
        run.terminate()  # and not killed: it takes its program along


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_a_change_ends_the_program_and_starts_it_again(
    process: "subprocess.Popen[str]", code: Path
) -> None:
    assert line(process) == "running --"

    os.utime(code, (1, 1))

    assert [line(process), line(process)] == ["ended", "running --"]


def test_sigterm_reaches_the_program_whose_exit_code_is_answered(
    process: "subprocess.Popen[str]",
) -> None:
    assert line(process) == "running --"

    process.send_signal(signal.SIGTERM)

    assert line(process) == "ended"
    assert process.wait(10) == 7


@pytest.mark.parametrize("arguments", [[], ["code"], ["--", "program"], ["code", "--"]])
def test_wrong_usage_is_said(arguments: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, RELOAD, *arguments], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 2
    assert "reload.py FOLDER" in finished.stderr
