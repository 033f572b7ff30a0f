"""What the images are made of, as far as that can be said without an engine."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from backend.settings import Settings
from tests.compose import BASE, REPOSITORY, defaults

DOCKERFILES = [REPOSITORY / "Dockerfile.api", REPOSITORY / "Dockerfile.worker"]
LOCKS = [REPOSITORY / "requirements-api.lock", REPOSITORY / "requirements-worker.lock"]
SCRIPTS = Path(sys.executable).parent
PINNED = re.compile(r"^([a-z0-9._-]+)==([^ ]+)", re.MULTILINE)

CARELESS = "FROM python:latest\nUSER root\nADD . /srv\nRUN sudo pip install flask\nCMD python\n"

of_both = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)


def instructions(dockerfile: Path) -> list[list[str]]:
    """[WORD, rest] of each instruction, continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ").splitlines()
    return [line.split(None, 1) for line in joined if line]


def last_stage(dockerfile: Path) -> dict[str, str]:
    """The last of each kind of instruction that makes the image what it is."""
    found = instructions(dockerfile)
    begin = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return {word: " ".join(rest.split()) for word, rest in found[begin:]}


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    program = SCRIPTS / "hadolint"
    if not program.exists():
        pytest.skip("NOT CHECKED BY HADOLINT: it is not to be had for this machine")
    return subprocess.run([program, dockerfile], capture_output=True, text=True, check=False)


@of_both
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    said = hadolint(dockerfile)

    assert (said.returncode, said.stdout) == (0, "")


def test_hadolint_would_say_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(CARELESS)

    assert hadolint(tmp_path / "Dockerfile").returncode == 1


def findings(folder: Path) -> set[str]:
    """The severities that ``trivy config`` finds in what lies in a folder."""
    program = SCRIPTS / "trivy"
    if not program.exists():
        pytest.skip("NOT CHECKED BY TRIVY: it is not to be had for this machine")
    command: list[str | Path] = [
        program,
        "config",
        "--quiet",
        "--skip-check-update",
        "--format",
        "json",
        folder,
    ]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    results = json.loads(said)["Results"]
    return {one["Severity"] for result in results for one in result.get("Misconfigurations", ())}


@pytest.mark.slow
def test_trivy_finds_nothing_where_it_would(tmp_path: Path) -> None:
    ours, careless = tmp_path / "ours", tmp_path / "careless"
    for folder in (ours, careless):
        folder.mkdir()
    for dockerfile in DOCKERFILES:
        shutil.copy(dockerfile, ours)
    (careless / "Dockerfile").write_text(CARELESS)

    assert findings(ours) == set()
    assert findings(careless) >= {"HIGH"}


@of_both
def test_it_runs_as_nobody_and_gets_its_signals_itself(dockerfile: Path) -> None:
    part = dockerfile.suffix.removeprefix(".")
    stage = last_stage(dockerfile)
    health = re.fullmatch(r"--interval=\d+s .*CMD (\[.*\])", stage["HEALTHCHECK"])

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", stage["USER"])
    assert json.loads(stage["ENTRYPOINT"]) == ["lockkeeper"]
    assert json.loads(stage["CMD"]) == [part]
    assert health
    assert json.loads(health[1]) == ["lockkeeper", "health", part]


@of_both
def test_its_bases_are_arguments_pinned_by_a_tag_of_no_named_registry(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    images = [rest.split("=", 1) for word, rest in found if word == "ARG" and "_IMAGE=" in rest]
    froms = [rest.split()[0] for word, rest in found if word == "FROM"]

    assert {f"${{{name}}}" for name, _ in images} == set(froms)
    for _, image in images:
        assert re.fullmatch(r"(?:[a-z]+/)?[a-z]+:[\w.-]+", image)
        assert not image.endswith(":latest")


def test_compose_builds_from_the_same_bases() -> None:
    said = defaults(BASE)
    arguments = {
        name: image
        for dockerfile in DOCKERFILES
        for word, rest in instructions(dockerfile)
        if word == "ARG" and "_IMAGE=" in rest
        for name, image in [rest.split("=", 1)]
    }

    assert arguments == {name: said[name] for name in arguments}


@of_both
def test_what_it_copies_is_let_through_to_it(dockerfile: Path) -> None:
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    let_through = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, rest in instructions(dockerfile)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }

    assert "*" in rules
    assert copied <= let_through
    assert all((REPOSITORY / source).exists() for source in copied)


@of_both
def test_what_it_sets_is_a_setting(dockerfile: Path) -> None:
    known = {str(field.alias) for field in Settings.model_fields.values()}
    known |= {"PATH", "PYTHONDONTWRITEBYTECODE"}

    assert set(re.findall(r"(\w+)=", last_stage(dockerfile)["ENV"])) <= known


@pytest.mark.parametrize("lock", LOCKS, ids=lambda file: file.name)
def test_a_lock_of_an_image_has_the_versions_that_are_tested(lock: Path) -> None:
    tested = set(PINNED.findall((REPOSITORY / "requirements-dev.lock").read_text()))
    text = lock.read_text()
    pinned = PINNED.findall(text)

    assert set(pinned) <= tested
    assert len(re.findall(r"==.*\\\n    --hash=sha256:", text)) == len(pinned)


def test_an_image_has_all_that_its_part_needs_and_the_api_no_more() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    api, worker = (set(dict(PINNED.findall(lock.read_text()))) for lock in LOCKS)
    needed = names(project["dependencies"]) | names(project["optional-dependencies"]["s3"])
    analysis = names(project["optional-dependencies"]["analysis"])

    assert needed <= api < worker
    assert analysis <= worker
    assert analysis.isdisjoint(api)


def names(requirements: list[str]) -> set[str]:
    return {Requirement(one).name.lower() for one in requirements}


@pytest.mark.slow
def test_what_is_installed_is_the_whole_tree(tmp_path: Path) -> None:
    """Development installs are links: only an image would miss what the package forgets."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("backend", "workers"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation",
         "--wheel-dir", tmp_path, source],
        check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    here = {
        str(path.relative_to(REPOSITORY))
        for folder in ("backend", "workers")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and not fnmatch(str(path), "*__pycache__*")
    }

    assert here - packed == set()
