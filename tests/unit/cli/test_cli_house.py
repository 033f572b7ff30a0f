"""Which port the API of ``lockkeeper up`` gets."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from backend.cli import house
from backend.cli.children import Child, Children
from backend.cli.errors import CommandError
from backend.cli.folder import Folder
from backend.settings import PortTaken


class Ended(Children):
    """Processes that end at once, each with the exit code that its port has."""

    def __init__(self, codes: Mapping[int, int]) -> None:
        super().__init__()
        self._codes = codes

    def start(
        self, name: str, environment: Mapping[str, str], log: Path, *, lives: int = 0
    ) -> Child:
        code = self._codes[int(environment["API_PORT"])]
        process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        process.wait()
        log.parent.mkdir(exist_ok=True)
        log.write_text("no\n")
        child = Child(name, process, log, environment, lives)
        self._children.append(child)
        return child


def test_a_port_that_was_taken_between_look_and_start_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {1: PortTaken.exit_code, 2: PortTaken.exit_code, 3: 1}
    tried: list[object] = []
    monkeypatch.setattr(house, "_answers", lambda _api, client: tried.append(client))
    with Ended(codes) as children, pytest.raises(CommandError):
        house._serve(children, {}, Folder(tmp_path), iter([1, 2, 3]))

    assert len(tried) == 3
