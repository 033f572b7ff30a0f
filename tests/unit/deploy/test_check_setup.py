"""``scripts/check-setup``: each check notices what it is for, and this copy passes."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.command_line import REPOSITORY, script_module


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Of a copy that holds no more than the checks read, without faults."""
    module = script_module("check_setup")
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    for name in module.NEEDED:
        here, there = REPOSITORY / name, tmp_path / name
        if here.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        elif not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
    (tmp_path / "README.md").write_text("[a page](docs/page.md)\n")
    (tmp_path / "docs" / "page.md").write_text("[back](../README.md#it)\n")
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return module


CHECKS = ["structure", "syntax", "powershell", "compose", "docs"]
FAULTS = {
    "structure": ("pyproject.toml", None, "pyproject.toml is missing"),
    "syntax": ("backend/new.py", "def (", "backend/new.py: "),
    "powershell": ("scripts/test-worker.ps1", "if ($true) {", "is no PowerShell"),
    "compose": ("docker-compose.base.yml", "services: {db: {image: 3}}", "docker-compose.base.yml"),
    "docs": ("docs/page.md", "[there](no.md)", "docs/page.md leads to no.md, which is not there"),
}


def problems(checks: ModuleType, name: str) -> list[str]:
    return list(getattr(checks, name)())


@pytest.mark.parametrize("name", CHECKS)
def test_a_copy_without_faults_passes(checks: ModuleType, name: str) -> None:
    assert problems(checks, name) == []


@pytest.mark.parametrize("name", CHECKS)
def test_a_fault_is_noticed_and_said(
    checks: ModuleType, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place, text, said = FAULTS[name]
    (tmp_path / place).write_text(text) if text else (tmp_path / place).unlink()

    assert not checks.passed(getattr(checks, name))

    lines = capsys.readouterr().out.splitlines()
    assert said in lines[0]
    assert lines[-1] == f"FAILED: {name}"


@pytest.mark.parametrize(
    ("place", "text", "check"),
    [
        ("scripts/run", "#!/bin/sh\nif true; then\n", "syntax"),
        ("examples/package-lock.json", "{", "syntax"),
        ("pyproject.toml", "[project", "syntax"),
        ("docs/other.md", "nobody leads here", "docs"),
    ],
)
def test_other_faults_are_noticed_too(
    checks: ModuleType, tmp_path: Path, place: str, text: str, check: str
) -> None:
    (tmp_path / place).write_text(text)

    assert problems(checks, check)


@pytest.mark.parametrize("name", ["run", "test_worker.py"])
def test_a_script_that_cannot_be_run_is_noticed(
    checks: ModuleType, tmp_path: Path, name: str
) -> None:
    (tmp_path / "scripts" / name).chmod(0o644)

    assert problems(checks, "structure") == [f"scripts/{name} cannot be run: chmod +x"]


def test_a_version_that_is_not_the_pinned_one_is_noticed(
    checks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.lock").write_text("pytest==0.0.1 \\\n    --hash=…\nno-such==1 \\\n")
    monkeypatch.setattr(checks, "run", lambda *_: iter(()))  # pip check takes a second
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")

    said = problems(checks, "dependencies")

    assert said == [
        f"pytest is {pytest.__version__}, the lock pins 0.0.1: scripts/bootstrap",
        "no-such is not installed, the lock pins 1: scripts/bootstrap",
    ]


def test_what_cannot_be_checked_is_skipped_with_its_reason(
    checks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)

    assert checks.passed(checks.dependencies)

    said = capsys.readouterr().out
    assert said.startswith("skipped: dependencies: there is no virtual environment yet")


@pytest.mark.slow
def test_this_copy_passes() -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "check-setup"],
        env={"PATH": "/usr/bin:/bin", "LOCKKEEPER_VENV": sys.prefix},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "ok: structure", "ok: syntax", "ok: powershell", "ok: compose", "ok: dependencies",
        "ok: docs",
    ]  # fmt: skip
