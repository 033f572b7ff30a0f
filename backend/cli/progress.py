"""Watching one request until every package has its verdict: on a terminal, or as plain lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from backend.cli import look, report
from backend.cli.client import Client, Unreachable
from backend.cli.report import Json

PAUSE: Final = 0.3  # seconds between two looks, at least
GENTLE: Final = 5  # times as long as a look took, we leave the server alone
PATIENCE: Final = 60.0  # seconds for which the server may be away while it starts again
PLAIN_PAUSE: Final = 2.0  # seconds between two plain lines

Show = Callable[[Json], None]
Wait = Callable[[float], None]


def follow(
    client: Client,
    path: str,
    show: Show,
    *,
    finished: Callable[[Json], bool] = report.finished,
    wait: Wait = time.sleep,
) -> dict[str, Any]:
    """Look at what is at ``path``, a request, show it, and so on until it is finished.

    Answers what was seen last.

    Raises:
        CommandError: the server refused, or was away for longer than PATIENCE.
    """
    heard = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            detail = client.get(path)
        except Unreachable:
            if time.monotonic() - heard > PATIENCE:
                raise
            wait(1.0)
            continue
        heard = time.monotonic()
        show(detail)
        if finished(detail):
            return detail
        wait(max(PAUSE, GENTLE * (heard - began)))


@contextmanager
def display(console: Console) -> Iterator[Show]:
    """What shows a request while it is worked on, and takes itself away at the end."""
    if console.is_terminal and not console.is_dumb_terminal:
        view = LiveView(console)
        with Live(
            get_renderable=view.render, console=console, transient=True, refresh_per_second=8
        ):
            yield view.show
    else:
        yield PlainView(console).show


class LiveView:
    """A bar, and a table of as many packages as the terminal is high."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._detail: Json | None = None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("vetting", total=None)

    def show(self, detail: Json) -> None:
        self._detail = detail
        packages = detail["packages"]
        done = sum(map(report.vetted, packages))
        self._bar.update(
            self._task, description=look.heading(detail), completed=done, total=len(packages)
        )

    def render(self) -> Group:
        if self._detail is None:
            return Group(self._bar)
        room = max(3, self._console.height - 7)  # the bar, the headings, the tally, the cursor
        table = look.package_table(_most_interesting(self._detail["packages"], room))
        return Group(self._bar, table, look.tally(self._detail))


def _most_interesting(packages: list[Json], room: int) -> list[Json]:
    """All in their order where they fit; else those being worked on, then the latest verdicts."""
    if len(packages) <= room:
        return packages
    latest = sorted(packages, key=lambda package: str(package["updated_at"]), reverse=True)
    return sorted(latest, key=_rank)[:room]


def _rank(package: Json) -> int:
    if report.vetted(package):
        return 1
    return 2 if package["status"] == "Requested" else 0


class PlainView:
    """A line now and then, where something changed; no escape sequence."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._said = ""
        self._said_at = 0.0

    def show(self, detail: Json) -> None:
        now = time.monotonic()
        words = look.tally(detail).plain
        due = report.finished(detail) or now - self._said_at >= PLAIN_PAUSE
        if words == self._said or not due:
            return
        done, total = sum(map(report.vetted, detail["packages"])), len(detail["packages"])
        line = f"{done}/{total} vetted after {now - self._began:.0f} s: {words}"
        self._console.print(Text(line), soft_wrap=True)
        self._said, self._said_at = words, now
