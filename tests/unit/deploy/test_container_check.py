"""What the check of the containers does before it starts any."""

import resource
import tomllib
from pathlib import Path

import pytest

from tests.compose import BASE, resolved
from tests.container import stand_in
from tests.container.check import main
from tests.container.engine import Engine, Failed, Skipped, podman_compose, wanted
from tests.container.stack import SERVICES, folder_for, until, variables


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no programs but those that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    return folder


def program(file: Path, says: str) -> None:
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)


def test_what_is_missing_is_named_and_nothing_fails(
    empty_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(empty_path / "podman", "")

    code = main()

    assert code == 0
    said = capsys.readouterr().out
    assert said == "container-check: skipped: not installed here: buildah, runc\n"


def test_a_user_who_is_not_root_is_told_so(
    empty_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(Skipped, match="only root"):
        wanted()


@pytest.mark.parametrize(
    ("version", "allowed"), [("1.0.3", False), ("1.3.0", True), ("1.10", True)]
)
def test_podman_compose_must_know_what_a_service_depends_on(
    empty_path: Path, version: str, allowed: bool
) -> None:
    program(empty_path / "podman-compose", version)

    if allowed:
        assert podman_compose() == str(empty_path / "podman-compose")
    else:
        with pytest.raises(Skipped, match=version):
            podman_compose()


def test_no_container_gets_a_higher_limit_than_we_have(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine")

    said = tomllib.loads((engine.folder / "containers.conf").read_text())
    limits = dict(limit.split("=") for limit in said["containers"]["default_ulimits"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert 0 < int(limits["nofile"].partition(":")[0]) <= (hard if hard > 0 else 1 << 62)


def test_a_command_that_fails_gives_its_last_words(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine")

    with pytest.raises(Failed, match=r"exit code 3\nso it went"):
        engine.run("sh", "-c", "echo so it went >&2; exit 3")
    with pytest.raises(Failed, match="not within"):
        engine.run("sleep", "60", within=0.05)


def test_the_project_uses_the_stand_ins_and_asks_no_trivy_server(tmp_path: Path) -> None:
    project = folder_for(tmp_path, stand_in.VARIABLES, 18000)

    services = resolved(project / BASE.name, environment=variables(project))["services"]
    assert services["db"]["image"] == stand_in.VARIABLES["POSTGRES_IMAGE"]
    assert services["worker"]["build"]["args"]["BASE_IMAGE"] == stand_in.VARIABLES["BASE_IMAGE"]
    assert services["worker"]["environment"]["TRIVY_URL"] == ""
    assert services["api"]["ports"] == ["127.0.0.1:18000:8000"]
    assert set(SERVICES) <= services.keys()


def test_what_never_comes_is_said_with_the_last_reason() -> None:
    def refused() -> bool:
        raise Failed("connection refused")

    with pytest.raises(Failed, match=r"the API: not within 0 s: connection refused"):
        until("the API", refused, 0.05)
