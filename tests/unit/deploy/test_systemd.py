"""The systemd units: valid, hardened, and with variables and commands that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from backend.cli import cli
from backend.settings import Settings

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PROGRAM = "/opt/lockkeeper/bin/lockkeeper"
ELSEWHERE = {"TMPDIR"}  # read by the standard library
MOST_EXPOSED = 25  # tenths, of 100

Setting = tuple[str, str]


def settings_of(unit: Path) -> list[Setting]:
    """Every `Name=value` in order; a name may stand there several times."""
    return re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text(), re.MULTILINE)


def value(unit: Path, name: str) -> str:
    (found,) = [value for known, value in settings_of(unit) if known == name]
    return found


def environment(unit: Path) -> dict[str, str]:
    lines = [value for name, value in settings_of(unit) if name == "Environment"]
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("UNITS NOT VERIFIED: there is no systemd-analyze on this machine")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_parts_have_their_units() -> None:
    assert {unit.stem for unit in UNITS} == {
        "lockkeeper-api", "lockkeeper-migrate", "lockkeeper-publisher", "lockkeeper-worker@",
    }  # fmt: skip


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_command_with_variables_that_exist(unit: Path) -> None:
    program, command = value(unit, "ExecStart").split()
    known = {str(field.alias) for field in Settings.model_fields.values()}

    assert program == PROGRAM
    assert command in cli.commands
    assert set(environment(unit)) <= known | ELSEWHERE


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_folder_that_a_variable_names_is_made_for_the_unit(unit: Path) -> None:
    made = {
        f"/var/{place}/{name}"
        for place, setting in (("lib", "StateDirectory"), ("log", "LogsDirectory"))
        for known, names in settings_of(unit)
        if known == setting
        for name in names.split()
    }

    assert {path for path in environment(unit).values() if path.startswith("/")} <= made


def test_the_publisher_is_somebody_else() -> None:
    users = {unit.stem: value(unit, "User") for unit in UNITS}
    named = (ROOT / "deploy" / "systemd" / "sysusers.conf").read_text()

    assert users.pop("lockkeeper-publisher") not in users.values()
    for user in users.values():
        assert f"u {user} " in named


def test_a_worker_has_time_to_drain_and_its_children_may_be_confined() -> None:
    grace = Settings.model_fields["worker_grace_period"].default.total_seconds()
    workers = [unit for unit in UNITS if value(unit, "ExecStart").endswith(" worker")]

    assert len(workers) == 2
    for unit in workers:
        assert float(value(unit, "TimeoutStopSec")) > grace + 10
        assert value(unit, "KillMode") == "mixed"
        assert set(value(unit, "RestrictNamespaces").split()) == {"user", "net", "ipc", "pid"}
        assert value(unit, "OOMPolicy") == "continue"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    done = analyze("verify", "--man=no", copy)

    assert done.returncode == 0, done.stderr
    assert unit.stem not in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_it_little_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert done.returncode == 0, done.stdout + done.stderr
