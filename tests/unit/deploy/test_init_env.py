"""``.env.example`` and what ``scripts/init-env`` makes of it."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from backend.audit.signing import Signer
from backend.settings import EXAMPLE, Settings, SettingsError
from tests.compose import BASE, DEV, REPOSITORY, defaults

SAMPLE = REPOSITORY / ".env.example"
LINE = re.compile(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)

# Those that the images and compose set to something else than the default.
IN_CONTAINERS = {
    "API_HOST", "AUDIT_ARCHIVE_DIR", "AUDIT_SIGNING_KEY_FILE", "LOG_FORMAT", "PACKAGE_CACHE_DIR",
    "STORAGE_DIR", "TRIVY_BINARY", "TRIVY_CACHE_DIR", "TRIVY_URL", "WORKER_METRICS_HOST",
    "WORKER_METRICS_PORT", "WORKER_TYPE",
}  # fmt: skip


def sample() -> dict[str, tuple[bool, str]]:
    """By name: whether it is set there, and to what."""
    found = LINE.findall(SAMPLE.read_text())
    assert len(found) == len({name for _, name, _ in found}), "a variable stands there twice"
    return {name: (not commented, value) for commented, name, value in found}


def fields() -> dict[str, Any]:
    return {str(field.alias): field for field in Settings.model_fields.values()}


def secret_names() -> set[str]:
    return {name for name, field in fields().items() if "SecretStr" in str(field.annotation)}


def variables(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def init_env(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "scripts" / "init-env", folder],
        env={**os.environ, **environment},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with .env and secrets."""
    folder = tmp_path_factory.mktemp("made")
    finished = init_env(folder)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_every_setting_and_every_variable_of_the_compose_files_is_in_the_example() -> None:
    assert set(fields()) | set(defaults(BASE)) | set(defaults(DEV)) <= set(sample())


def test_the_example_names_nothing_that_nobody_reads() -> None:
    read = set(fields()) | set(defaults(BASE)) | set(defaults(DEV))

    assert set(sample()) - read == {"COMPOSE_PROFILES"}  # compose itself reads it


def test_what_is_commented_out_shows_its_default() -> None:
    shown = {name: value for name, (is_set, value) in sample().items() if not is_set}
    expected = {
        name: default_of(field) for name, field in fields().items() if name not in IN_CONTAINERS
    }

    assert {name: value for name, value in shown.items() if name in expected} == {
        name: value for name, value in expected.items() if name in shown
    }


def default_of(field: Any) -> str:
    default = field.default
    if default is None or default == ():
        return ""
    if hasattr(default, "total_seconds"):
        return f"{default.total_seconds():.12g}"
    if isinstance(default, dict):
        return ",".join(f"{name}={number}" for name, number in default.items())
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("file", [BASE, DEV], ids=lambda file: file.name)
def test_what_a_compose_file_takes_instead_is_what_the_example_shows(file: Path) -> None:
    said = {name: value for name, (is_set, value) in sample().items() if not is_set}
    taken = {name: value for name, value in defaults(file).items() if value}
    if file == DEV:  # it has an example set of advisories and a registry
        taken = {name: value for name, value in taken.items() if name.endswith("_IMAGE")}

    assert taken
    assert taken == {name: said[name] for name in taken}


def test_the_example_values_are_refused_each_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_there = {name: value for name, (is_set, value) in sample().items() if is_set}
    for name, value in set_there.items():
        monkeypatch.setenv(name, value.ljust(40, "x"))  # none is too short, which is said first

    with pytest.raises(SettingsError) as refused:
        Settings.load()

    named = set(re.findall(r"[A-Z][A-Z_]+", str(refused.value)))
    assert named == set(set_there) & secret_names()
    assert EXAMPLE not in str(refused.value)


@pytest.mark.parametrize("name", sorted(secret_names()))
def test_a_secret_is_never_an_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"postgresql://u:{EXAMPLE.upper()}anything-that-is-long@host/name")

    with pytest.raises(SettingsError, match=f"{name}: an example value"):
        Settings.load()


def test_what_it_makes_is_accepted_random_and_for_its_owner_alone(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = variables(made / ".env")
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    urls = {name: urlsplit(value) for name, value in found.items() if name.endswith("_URL")}
    keys = [value for name, value in found.items() if name not in urls]
    passwords = {str(url.password) for url in urls.values()}

    assert stat.S_IMODE((made / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "secrets").stat().st_mode) == 0o700
    assert isinstance(settings.jwt_secret, SecretStr)
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)
    assert len(set(keys)) == len(keys) == 6
    assert urls["DATABASE_URL"].password == found["POSTGRES_PASSWORD"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", password) for password in passwords)
    assert len(passwords | {*keys}) == len(urls) + len(keys) - 1 == 11


def test_nothing_of_the_example_is_lost(made: Path) -> None:
    def without_values(text: str) -> list[str]:
        return [re.sub("=.*", "=", line) for line in text.splitlines()]

    assert without_values((made / ".env").read_text()) == without_values(SAMPLE.read_text())


def test_the_files_of_secrets_are_what_the_parts_want(made: Path) -> None:
    signer = Signer.of((made / "secrets" / "audit-key.pem").read_bytes())
    token = (made / "secrets" / "metrics-token").read_text()

    assert len(signer.public_key) == 32
    assert token == variables(made / ".env")["METRICS_TOKEN"]


def test_two_runs_elsewhere_make_other_secrets(made: Path, tmp_path: Path) -> None:
    init_env(tmp_path)

    here, there = variables(made / ".env"), variables(tmp_path / ".env")
    keys = [made / "secrets" / "audit-key.pem", tmp_path / "secrets" / "audit-key.pem"]
    assert {name for name in here if here[name] == there[name]} == set()
    assert keys[0].read_bytes() != keys[1].read_bytes()


@pytest.mark.parametrize("program", ["od", "sed", "base64"])
def test_without_randomness_or_a_tool_nothing_is_left_half_made(
    program: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / program
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    folder = tmp_path / "made"
    folder.mkdir()

    finished = init_env(folder, PATH=f"{broken.parent}:{os.environ['PATH']}")

    assert finished.returncode != 0
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == (set() if program != "base64" else {".env"})


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("METRICS_TOKEN=my own token of metrics\n")
    first = init_env(tmp_path)
    key = (tmp_path / "secrets" / "audit-key.pem").read_bytes()
    second = init_env(tmp_path)

    assert (first.returncode, second.returncode) == (0, 0)
    assert "stays as it is" in first.stderr
    assert (tmp_path / ".env").read_text() == "METRICS_TOKEN=my own token of metrics\n"
    assert (tmp_path / "secrets" / "audit-key.pem").read_bytes() == key
    assert (tmp_path / "secrets" / "metrics-token").read_text() == "my own token of metrics"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        ".env", "audit-key.pem", "metrics-token", "secrets",
    ]  # fmt: skip
