#!/usr/bin/env python3
"""What ``scripts/check-setup`` looks at: one line for each check, and exit code 1 where one fails.

Needs Python alone; what wants more is skipped, and says so.
"""

import argparse
import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDED = (
    ".dockerignore", ".env.example", "Dockerfile.api", "Dockerfile.worker", "LICENSE", "README.md",
    "backend/cli", "backend/migrations/versions", "backend/queue", "backend/web",
    "backend/workloads", "deploy/k8s", "deploy/prometheus", "deploy/systemd",
    "docker-compose.base.yml", "docker-compose.dev.yml", "docs", "examples/package-lock.json",
    "pyproject.toml", "requirements-api.lock", "requirements-dev.lock", "requirements-worker.lock",
    "requirements.lock", "scripts/bootstrap", "scripts/init-env", "scripts/run", "scripts/test",
    "scripts/test-worker.ps1", "scripts/test_worker.py", "tests", "workers",
)  # fmt: skip
SOURCES = ("backend", "workers", "tests", "scripts", "deploy")
COMPOSE = ("docker-compose.base.yml", "docker-compose.dev.yml")
LINK = re.compile(r"\]\(([^()\s#]+)[^()\s]*\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+) \\$", re.MULTILINE)  # those for every platform

Problems = Iterator[str]


class Skipped(Exception):
    """Why a check cannot be made here."""


def structure() -> Problems:
    """Whether what belongs here is here, and scripts may be run."""
    for path in NEEDED:
        if not (REPOSITORY / path).exists():
            yield f"{path} is missing"
    for script in (REPOSITORY / "scripts").iterdir():
        if is_program(script) and not os.access(script, os.X_OK):
            yield f"scripts/{script.name} cannot be run: chmod +x"


def is_program(file: Path) -> bool:
    return file.is_file() and file.read_bytes().startswith(b"#!")


def syntax() -> Problems:
    """Whether every Python, shell, JSON and TOML file can be read."""
    for file in sorted(path for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py")):
        yield from unreadable(file, ast.parse)
    for script in sorted((REPOSITORY / "scripts").iterdir()):
        if script.is_file() and script.read_bytes().startswith(b"#!/bin/sh"):
            yield from run("sh", "-n", str(script))
    for file in (
        REPOSITORY / "examples" / "package-lock.json",
        *REPOSITORY.glob("deploy/**/*.json"),
    ):
        yield from unreadable(file, json.loads)
    yield from unreadable(REPOSITORY / "pyproject.toml", tomllib.loads)


def unreadable(file: Path, read: Callable[[str], object]) -> Problems:
    try:
        read(file.read_text())
    except (OSError, ValueError, SyntaxError) as error:
        yield f"{file.relative_to(REPOSITORY)}: {error}"


def powershell() -> Problems:
    """Whether the PowerShell script is one; nothing is run."""
    want("tree_sitter", "tree_sitter_powershell")
    import tree_sitter_powershell
    from tree_sitter import Language, Parser

    source = (REPOSITORY / "scripts" / "test-worker.ps1").read_bytes()
    if Parser(Language(tree_sitter_powershell.language())).parse(source).root_node.has_error:
        yield "scripts/test-worker.ps1 is no PowerShell"


def compose() -> Problems:
    """Whether the compose files are what the Compose Specification allows, with .env put in."""
    want("yaml", "compose_spec")
    sys.path.insert(0, str(REPOSITORY))
    from compose_spec import PyCompose

    from tests.compose import resolved

    made = REPOSITORY / ".env"
    said = (made if made.is_file() else REPOSITORY / ".env.example").read_text()
    variables = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", said, re.MULTILINE))
    for number in range(1, len(COMPOSE) + 1):
        files = [REPOSITORY / name for name in COMPOSE[:number]]
        try:
            document = resolved(*files, environment=variables)
            PyCompose.from_json(json.dumps(document)).validate()
        except Exception as error:  # noqa: BLE001 - the validator's own kinds are many
            yield f"{' and '.join(COMPOSE[:number])}: {error}"


def want(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"no {', '.join(missing)} here: scripts/bootstrap dev installs it")


def dependencies() -> Problems:
    """Whether the environment holds what the lock pins, and nothing in it disagrees."""
    if sys.prefix == sys.base_prefix:
        raise Skipped("there is no virtual environment yet: scripts/bootstrap makes it")
    for name, pinned in PIN.findall((REPOSITORY / "requirements.lock").read_text()):
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "not installed"
        if installed != pinned:
            yield f"{name} is {installed}, the lock pins {pinned}: scripts/bootstrap"
    yield from run(sys.executable, "-m", "pip", "check", "--disable-pip-version-check")


def docs() -> Problems:
    """Whether links lead to files, and the README to every page."""
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))):
        for target in links(page):
            if not (page.parent / target).exists():
                yield f"{page.relative_to(REPOSITORY)} leads to {target}, which is not there"
    linked = links(REPOSITORY / "README.md")
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        if f"docs/{page.name}" not in linked:
            yield f"README.md does not lead to docs/{page.name}"


def links(page: Path) -> set[str]:
    """The relative ones."""
    targets = LINK.findall(CODE.sub("", page.read_text()))
    return {
        target for target in targets if "://" not in target and not target.startswith("mailto:")
    }


def run(*command: str) -> Problems:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        yield from done.stdout.splitlines() or [f"{' '.join(command)} ended with {done.returncode}"]


def smoke() -> Problems:
    """Whether a stack vets the example lock file; what it says is shown."""
    done = subprocess.run([sys.executable, REPOSITORY / "scripts" / "test_worker.py"], check=False)
    if done.returncode:
        yield f"scripts/test_worker.py ended with {done.returncode}"


def passed(check: Callable[[], Problems]) -> bool:
    """Make one check and say what came of it; a skipped one fails nothing."""
    try:
        problems = list(check())
    except Skipped as reason:
        print(f"skipped: {check.__name__}: {reason}", flush=True)  # noqa: T201 - its output
        return True
    for problem in problems:
        print(f"  {problem}", flush=True)  # noqa: T201 - its output
    print(f"{'FAILED' if problems else 'ok'}: {check.__name__}", flush=True)  # noqa: T201 - its output
    return not problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="check-setup", description="Is this copy ready?")
    parser.add_argument("--smoke", action="store_true", help="vet the example, too")
    asked = parser.parse_args()
    checks = [structure, syntax, powershell, compose, dependencies, docs]
    if asked.smoke:
        checks.append(smoke)
    results = [passed(check) for check in checks]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
