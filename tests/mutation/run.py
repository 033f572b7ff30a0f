"""``python -m tests.mutation.run``: every mutant must turn a test red.

Each mutant is one replacement in a copy of the code; what is imported there is the copy, never the
installed tree. The tests must first be green without a mutant, so that red means something.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from tests.mutation.table import MUTANTS, Mutant

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CODE: Final = ("backend", "workers", "tests")
LIMIT: Final = 300  # seconds for the tests of one mutant
TEST_LIMIT: Final = 90  # seconds for one test
FAILED: Final = re.compile(r"^FAILED \S*?::(.+?)(?: - .*)?$", re.MULTILINE)
ORIGIN: Final = "import backend, workers; print(backend.__file__, workers.__file__)"


class NoAnswer(Exception):
    """The tests said neither yes nor no: nothing follows about the mutant."""


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    killer: str | None
    """The test that turned red; None where all stayed green."""
    took: float  # seconds
    trouble: str | None = None

    @property
    def killed(self) -> bool:
        return self.killer is not None


@contextmanager
def copy_of(code: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lockkeeper-mutant-") as directory:
        copy = Path(directory).resolve()
        for name in CODE:
            shutil.copytree(code / name, copy / name)
        shutil.copy2(code / "pyproject.toml", copy)
        yield copy


def apply(mutant: Mutant, copy: Path) -> None:
    """Raises LookupError where the text to replace is not there exactly once."""
    path = copy / mutant.path
    text = path.read_text()
    if (times := text.count(mutant.before)) != 1:
        raise LookupError(f"its text occurs {times} times in {mutant.path}, not once")
    path.write_text(text.replace(mutant.before, mutant.after))


def environment(copy: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(copy)}


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy, env=environment(copy), capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip


def check_origin(copy: Path) -> None:
    """The copy is what is imported there, not the tree that the environment has installed."""
    imported = python(copy, "-c", ORIGIN).stdout.split()
    if imported != [str(copy / "backend/__init__.py"), str(copy / "workers/__init__.py")]:
        raise SystemExit(f"mutants: the tests would import {imported}, not the mutated copy")


def run_tests(copy: Path, pattern: str) -> str | None:
    """The first test that failed, or None where at least one ran and all passed.

    Raises:
        NoAnswer: pytest ended in any other way.
    """
    file, _, expression = pattern.partition(":")
    try:
        ran = python(
            copy, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE",
            f"--timeout={TEST_LIMIT}", f"tests/{file}", "-k", expression, "-m", "slow or not slow",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{pattern}: no end within {LIMIT} s") from None
    failed = FAILED.search(ran.stdout)
    if ran.returncode == 1 and failed:
        return failed[1]
    if ran.returncode == 0:
        return None
    raise NoAnswer(f"{pattern}: pytest ended with {ran.returncode}: {last_words(ran.stdout)}")


def by_file(patterns: Iterable[str]) -> list[str]:
    """The same tests with one pattern a file: each run of pytest starts a server."""
    files: defaultdict[str, set[str]] = defaultdict(set)
    for pattern in patterns:
        file, _, expression = pattern.partition(":")
        files[file].add(f"({expression})")
    return [f"{file}:{' or '.join(sorted(asked))}" for file, asked in sorted(files.items())]


def last_words(said: str) -> str:
    return " ".join(said.split())[-200:]


def judge(mutant: Mutant, original: Path) -> Verdict:
    began = time.monotonic()
    killer, trouble = None, None
    try:
        with copy_of(original) as copy:
            apply(mutant, copy)
            for pattern in mutant.tests:
                killer = killer or run_tests(copy, pattern)
    except (LookupError, NoAnswer) as error:
        trouble = str(error)
    return Verdict(mutant, killer, time.monotonic() - began, trouble)


def why_red(pattern: str, original: Path) -> str | None:
    """Why ``pattern`` can say nothing of a mutant: it is red without one, or matches no test."""
    try:
        failed = run_tests(original, pattern)
    except NoAnswer as error:
        return str(error)
    return failed and f"{pattern}: {failed} fails"


def say(verdict: Verdict) -> None:
    what = verdict.trouble or verdict.killer or "SURVIVED"
    click.echo(f"{verdict.mutant.name:<50}  {what:<100}  {verdict.took:5.1f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mutants", description="Each mutant must turn a test red."
    )
    parser.add_argument("word", nargs="?", default="", help="only mutants with this in their name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    asked = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if asked.word in mutant.name]
    patterns = by_file(pattern for mutant in chosen for pattern in mutant.tests)
    began = time.monotonic()
    verdicts = []
    with copy_of(REPOSITORY) as original, ThreadPoolExecutor(asked.jobs) as pool:
        check_origin(original)
        red = [why for why in pool.map(lambda p: why_red(p, original), patterns) if why]
        if red:
            click.echo("\n  ".join(["mutants: not green without a mutant:", *red]))
            return 1
        click.echo(f"{'mutant':<50}  {'killed by':<100}  seconds")
        for verdict in pool.map(lambda m: judge(m, original), chosen):
            say(verdict)
            verdicts.append(verdict)
    alive = [verdict.mutant.name for verdict in verdicts if not verdict.killed]
    click.echo(
        f"mutants: {len(verdicts) - len(alive)} of {len(verdicts)} killed"
        f" in {time.monotonic() - began:.0f} s" + "".join(f"\n  alive: {name}" for name in alive)
    )
    return 1 if alive or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
