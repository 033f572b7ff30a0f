from pathlib import Path

import pytest

from backend.cli import npmrc

MIRROR = "https://registry.example.test/npm"


@pytest.fixture(autouse=True)
def no_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH of our own, without npm until a test puts one there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def install_npm(programs: Path, answer: str, code: int = 0) -> None:
    npm = programs / "npm"
    npm.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    npm.chmod(0o755)


@pytest.mark.parametrize("name", ["npm_config_registry", "NPM_CONFIG_REGISTRY"])
def test_the_environment_says_it_first(tmp_path: Path, name: str) -> None:
    (tmp_path / ".npmrc").write_text("registry=https://other.example.test/\n")

    assert npmrc.registry({name: f"{MIRROR}/"}, tmp_path) == MIRROR


@pytest.mark.parametrize(
    "text",
    [
        f"registry={MIRROR}/\n",
        f'  registry = "{MIRROR}"  \n',
        f"; registry=https://no.example.test\nregistry=https://no.example.test\nregistry={MIRROR}\n",
        f"registry={MIRROR}\n@boat:registry=https://no.example.test\n",
        "registry=${MIRROR}\n",
    ],
)
def test_the_persons_own_file_says_it_next(tmp_path: Path, no_npm: Path, text: str) -> None:
    install_npm(no_npm, "https://other.example.test/")
    (tmp_path / ".npmrc").write_text(text)

    assert npmrc.registry({"MIRROR": MIRROR}, tmp_path) == MIRROR


def test_npm_itself_is_asked_last(tmp_path: Path, no_npm: Path) -> None:
    install_npm(no_npm, f"{MIRROR}/")

    assert npmrc.registry({}, tmp_path) == MIRROR


def test_an_npm_that_fails_says_nothing(tmp_path: Path, no_npm: Path) -> None:
    install_npm(no_npm, MIRROR, code=1)

    assert npmrc.registry({}, tmp_path) is None


@pytest.mark.parametrize("text", ["", "registry=\n", "registry=ftp://x/\n", "registry=nonsense\n"])
def test_what_is_no_web_address_is_no_registry(tmp_path: Path, text: str) -> None:
    (tmp_path / ".npmrc").write_text(text)

    assert npmrc.registry({}, tmp_path) is None


def test_the_file_beside_the_lock_is_a_strangers_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".npmrc").write_text("registry=http://169.254.169.254/\n")
    monkeypatch.chdir(tmp_path / "project")

    assert npmrc.registry({}, tmp_path) is None
