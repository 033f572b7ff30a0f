"""The processes that ``lockkeeper up`` starts: none outlives it, and none dies unnoticed."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final, Self

import click

from backend.cli.errors import FAILED, WRONG_USAGE, CommandError, Stopped
from backend.cli.words import plain, say

STOP_TIMEOUT: Final = 60.0  # seconds for a clean end; a worker drains in WORKER_GRACE_PERIOD
TICK: Final = 0.2  # seconds between two looks at the children
LAST_WORDS: Final = 12  # lines of a dead child's log that are shown
_TAIL_BYTES: Final = 16_384
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Child:
    """``process`` leads a process group of its own: Ctrl-C is for us, who then stop it.

    ``lives``: how often it is started again after a signal killed it or it ended with 1.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str]
    lives: int


class Children:
    """A context: its end stops what was started in it. To be used in the main thread."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        # A signal no longer interrupts: it would leave behind what is still to be stopped.
        with _handled(lambda _number, _frame: self.kill()):
            self._stop()

    def start(
        self, name: str, environment: Mapping[str, str], log: Path, *, lives: int = 0
    ) -> Child:
        """Start ``lockkeeper <name>``; what it says goes to ``log``."""
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        child = Child(name, _spawn(name, environment, log), log, environment, lives)
        self._children.append(child)
        return child

    def forget(self, child: Child) -> None:
        """Its end, which has come, is no news."""
        self._children.remove(child)

    def check(self) -> None:
        """Start again whom a signal killed or who gave up; raise CommandError for other ends."""
        for child in list(self._children):
            code = child.process.poll()
            if code is None:
                continue
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if child.lives > 0 and (code < 0 or code == FAILED):
                self._start_again(child, how)
            else:
                _show_last_words(child)
                raise CommandError(
                    f"the {child.name} {how}; its log is {child.log}",
                    WRONG_USAGE if code == WRONG_USAGE else FAILED,
                )

    def _start_again(self, child: Child, how: str) -> None:
        say(f"The {child.name} {how}: starting it again.")
        self.forget(child)
        process = _spawn(child.name, child.environment, child.log)
        self._children.append(replace(child, process=process, lives=child.lives - 1))

    def wait(self, seconds: float) -> None:
        """Let time pass, with an eye on the children."""
        until = time.monotonic() + seconds
        while True:
            self.check()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(TICK, left))

    def _stop(self) -> None:
        """Ask all to end, wait for them, and kill who does not."""
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()
        for child in self._children:
            child.process.wait()
        self._children.clear()

    def kill(self) -> None:
        """Kill whole groups: also what a dead child left behind in its own."""
        for child in self._children:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)


def _spawn(name: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            # -P: the folder we were called in belongs to whoever made the lock file.
            [sys.executable, "-P", "-m", "backend.cli", name],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509 - it only calls the kernel
        )


@contextmanager
def stopped_by_signals(children: Children) -> Iterator[None]:
    """SIGINT, SIGTERM or SIGHUP raises Stopped inside the block, once; more kill the children."""
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            children.kill()
            return
        stopping = True
        raise Stopped(number)

    with _handled(stop):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        # nohup ignores SIGHUP and means it; a shell ignores SIGINT for its background jobs.
        if number != signal.SIGHUP or before[number] != signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _end_with(owner: int) -> Callable[[], None] | None:
    """What a child does before exec: ask for SIGTERM, a clean end, at the death of its owner."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != owner:  # it died before we asked
            os._exit(1)

    return follow


def _show_last_words(child: Child) -> None:
    with child.log.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
        lines = log.read().decode(errors="replace").splitlines()[-LAST_WORDS:]
    for line in lines:
        click.echo(f"  {child.name} | {plain(line, limit=300)}", err=True)
