"""scripts/bootstrap: one line a stage, no harm by a kill or a neighbour, and a way out named.

It runs for real in a tiny repository of its own that needs nothing from any index.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bootstrap"

BACKEND = """
import zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name, info = "lockkeeper-0-py3-none-any.whl", "lockkeeper-0.dist-info"
    metadata = ("Metadata-Version: 2.1", "Name: lockkeeper", "Version: 0", "")
    tags = ("Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any", "")
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("lockkeeper_is_here.py", "")
        wheel.writestr(f"{info}/METADATA", "\\n".join(metadata))
        wheel.writestr(f"{info}/WHEEL", "\\n".join(tags))
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "lockkeeper"
version = "0"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with an empty lock; its path has a space."""
    checkout = tmp_path / "a checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPT, checkout / "scripts" / "bootstrap")
    (checkout / "backend.py").write_text(BACKEND)
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "requirements.lock").write_text("# nothing\n")
    (checkout / "requirements-dev.lock").write_text("# nothing, for developers\n")
    return checkout


def start(repository: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [repository / "scripts" / "bootstrap", *words],
        cwd=repository.parent,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def bootstrap(repository: Path, *words: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code, and what was said on standard error."""
    with start(repository, *words, **environment) as process:
        out, err = process.communicate()
    assert out == ""
    return process.returncode, err.splitlines()


def begin(repository: Path, until: str, **environment: str) -> str:
    """Run until a line holds ``until``, then kill everything; returns that line."""
    with start(repository, **environment) as process:
        assert process.stderr is not None
        reached = next((line for line in process.stderr if until in line), "")
        os.killpg(process.pid, signal.SIGKILL)
    return reached


def works(venv: Path) -> bool:
    check = [str(venv / "bin" / "python"), "-c", "import lockkeeper_is_here"]
    return subprocess.run(check, check=False).returncode == 0


@pytest.fixture(scope="module")
def bare_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with the tools of a bare machine and no Python."""
    folder = tmp_path_factory.mktemp("bin")
    for tool in ("sh", "cat", "cksum", "dirname", "basename", "find", "ls", "mkdir", "rm", "sed"):
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


@pytest.mark.slow
def test_an_environment_is_made_once_then_left_alone_then_brought_up_to_date(
    repository: Path,
) -> None:
    code, said = bootstrap(repository)
    assert code == 0
    assert [line.partition(" ")[2].split()[0] for line in said] == ["making", *["installing"] * 2]
    assert works(repository / ".venv")

    began = time.monotonic()
    assert bootstrap(repository) == (0, [])
    assert time.monotonic() - began < 1.0

    code, said = bootstrap(repository, "dev")
    assert (code, said[0]) == (0, "bootstrap: installing requirements-dev.lock")
    assert bootstrap(repository) == (0, []), "dev's holds all of run's"

    (repository / "requirements.lock").write_text("# changed\n")
    code, said = bootstrap(repository)
    assert (code, said[0]) == (0, "bootstrap: installing requirements.lock")


@pytest.mark.slow
def test_an_environment_whose_making_was_killed_is_made_anew(repository: Path) -> None:
    assert begin(repository, "installing requirements.lock")
    assert not (repository / ".venv" / ".lockkeeper-stamp").exists()

    code, said = bootstrap(repository)

    assert code == 0
    assert "making" in said[0]
    assert works(repository / ".venv")


@pytest.mark.slow
def test_an_environment_that_was_moved_is_made_anew(repository: Path) -> None:
    bootstrap(repository)
    moved = repository.rename(repository.with_name("moved"))

    assert begin(moved, "making")


@pytest.mark.slow
def test_of_two_at_once_one_works_and_the_other_waits(repository: Path) -> None:
    with start(repository) as first, start(repository) as second:
        said = first.communicate()[1] + second.communicate()[1]

    assert (first.returncode, second.returncode) == (0, 0)
    assert said.count("making") == 1
    assert works(repository / ".venv")


def test_a_folder_that_is_no_environment_is_not_touched(repository: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("the only copy")

    code, said = bootstrap(repository, LOCKKEEPER_VENV="precious")

    assert (code, len(said)) == (1, 1)
    assert f"{precious} is not a virtual environment" in said[0]
    assert [entry.name for entry in precious.iterdir()] == ["thesis.txt"]


def test_an_unknown_word_is_refused(repository: Path) -> None:
    assert bootstrap(repository, "prod") == (
        2,
        ["bootstrap: unknown word 'prod': say nothing, or dev"],
    )


def test_a_machine_without_python_is_told_what_to_install(
    repository: Path, bare_path: Path
) -> None:
    code, said = bootstrap(repository, PATH=str(bare_path))

    assert code == 1
    assert said == ["bootstrap: no Python 3.11 or newer found: install one and put it on the PATH"]


def test_a_python_that_is_too_old_or_does_not_run_is_passed_over(
    repository: Path, bare_path: Path, tmp_path: Path
) -> None:
    for name in ("python3.14", "python3.13"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)

    assert begin(repository, "making", PATH=f"{tmp_path}:{bare_path}")


def test_a_python_without_its_venv_module_is_told_the_package_to_install(
    repository: Path, bare_path: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python3.12"
    python.write_text(
        "#!/bin/sh\ncase $2 in *ensurepip*) exit 1 ;; *print*) echo python3.12 ;; esac\n"
    )
    python.chmod(0o755)

    code, said = bootstrap(repository, PATH=f"{tmp_path}:{bare_path}")

    assert code == 1
    assert len(said) == 1
    assert "apt install python3.12-venv" in said[0]
