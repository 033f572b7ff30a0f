"""Watching one task until it has ended: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from backend.cli import look, progress
from backend.cli.client import Client
from backend.cli.errors import FAILED, OK
from backend.cli.report import Json
from backend.cli.task_words import ended, state

PLAIN_PAUSE: Final = 2.0  # seconds between two plain lines


def watch(client: Client, task_id: str) -> Json:
    """Show on standard error how far it is, until it has ended; answers what became of it."""
    with _display(look.console(stderr=True)) as show:
        return progress.follow(client, f"/api/tasks/status/{task_id}", show, finished=ended)


def exit_code(task: Json) -> int:
    return OK if task["status"] == "completed" else FAILED


@contextmanager
def _display(console: Console) -> Iterator[progress.Show]:
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console).show
        return
    words = TextColumn("{task.description}", markup=False)  # a stranger's may look like markup
    columns = SpinnerColumn(), BarColumn(), words, TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task("waiting", total=100)
        yield lambda task: bar.update(
            line, description=state(task), completed=float(task["progress"])
        )


class _Lines:
    """A line where something changed, now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said, self._said_at = "", 0.0

    def show(self, task: Json) -> None:
        words, now = state(task), time.monotonic()
        if ended(task) or words == self._said or now - self._said_at < PLAIN_PAUSE:
            return
        self._console.print(Text(words), soft_wrap=True)
        self._said, self._said_at = words, now
