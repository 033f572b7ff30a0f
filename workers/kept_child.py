"""One kept child process: start it, ask it one thing at a time, end it, name how it ended."""

import contextlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final, TypeAlias

from backend.queue import reporting
from backend.queue.confinement import Confinement, python
from backend.queue.pipeline import Step
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from workers.endings import Ending

MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
MAX_STDERR: Final = 4096  # bytes
BACKSTOP: Final = 5.0  # seconds past a step's hard limit, which the child itself enforces
STARTING: Final = 30.0  # seconds until a new child must have said what confines it
ENDING: Final = 2.0  # seconds a child may take to end what it started, before it is killed itself
LENGTH: Final = struct.Struct(">I")
PAGE: Final = resource.getpagesize()

Watch: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""``with watch(stop)``: ``stop()`` is called when the row is lost, and never after the block."""

Report: TypeAlias = Callable[[int, str], None]
"""``report(percent, message)`` is told what the step says of itself meanwhile."""


class KeptChild:
    """A child for steps of one memory limit (bytes); it forks for each row.

    Raises:
        Transient: it could not be started.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.tasks = 0
        self._process = subprocess.Popen(
            python("from workers.child import main; main()", str(memory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._tasks, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._tasks, False)
        self._errors = _Capped(self._process.stderr, MAX_STDERR)
        try:
            said = self._receive(time.monotonic() + STARTING)
        except TimeoutError:
            self._kill_group()
            said = None
        if said is None:
            cause = self._reap(time.monotonic()).cause(self._errors.bytes)
            self.kill()
            raise Transient(f"a child could not be started: {cause}")
        self.confinement = Confinement(**json.loads(said))

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and self._process.poll() is None

    @property
    def rss(self) -> int:
        """Resident memory of the process that is kept, in bytes; 0 where it cannot be read."""
        try:
            statm = os.open(f"/proc/{self.confinement.pid}/statm", os.O_RDONLY)
        except OSError:
            return 0
        try:
            return int(os.read(statm, 256).split()[1]) * PAGE
        except OSError:
            return 0
        finally:
            os.close(statm)

    def give(self, folder: Path) -> None:
        """Let ``folder`` and what is in it belong to the child's own user, where it has one."""
        if self.confinement.own_uid:
            _give(folder, self.confinement.uid)

    def ask(self, step: Step, snapshot: str, scratch: Path, watch: Watch, report: Report) -> bytes:
        """The child's answer, at most :data:`MAX_ANSWER` bytes of it.

        Args:
            step: what to run; its hard limit counts from here.
            snapshot: the step's input, as JSON.
            scratch: the row's own folder.
            watch: told how to stop the child while it works on this row.
            report: told how far it is; what it raises is let through.

        Raises:
            TimedOut, Died, Permanent: there is none; the child is to be killed.
        """
        self.tasks += 1
        seconds = step.timeout.total_seconds()
        told = {
            "target": _named(step.run),
            "rehearse": _named(step.rehearse) if step.rehearse else None,
            "seconds": seconds,
            "soft": step.soft_limit.total_seconds(),
        }
        row = f'{{"scratch": {json.dumps(str(scratch))}, "snapshot": {snapshot}}}'
        task = f"{json.dumps(told)}\n{row}".encode()
        began, late = time.monotonic(), False
        with watch(self._stop):
            try:
                out = self._exchange(task, began + seconds + BACKSTOP, report)
            except TimeoutError:
                self._kill_group()
                out, late = None, True
        if out is not None:
            return out
        ending = self._reap(began)
        self._errors.join()
        if late:
            raise TimedOut(ending.at_hard_limit(seconds))
        raise Died(f"child {ending.cause(self._errors.bytes)}")

    def _exchange(self, task: bytes, until: float, report: Report) -> bytes | None:
        """None where the child ended, or was killed, before it answered.

        Raises:
            TimeoutError: by ``until``, of the monotonic clock, it did neither.
        """
        try:
            self._send(LENGTH.pack(len(task)) + task, until)
            return self._answer(until, report)
        except (BrokenPipeError, ConnectionResetError):
            return None

    def _answer(self, until: float, report: Report) -> bytes | None:
        """What comes after the words of how far it is; None as for :meth:`_exchange`."""
        while (out := self._receive(until)) is not None and out.startswith(reporting.MARK):
            try:
                word = reporting.unpacked(out)
            except ValueError:  # a stranger's bytes may have said it
                continue
            report(*word)
        return out

    def _send(self, frame: bytes, until: float) -> None:
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[os.write(self._tasks, rest) :]
            except BlockingIOError:
                _wait(self._tasks, select.POLLOUT, until)

    def _receive(self, until: float) -> bytes | None:
        head = self._read(LENGTH.size, until)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        if length > MAX_ANSWER:
            raise Permanent(f"the step's answer is longer than {MAX_ANSWER} bytes")
        body = self._read(length, until)
        return body if len(body) == length else None

    def _read(self, size: int, until: float) -> bytes:
        """Fewer than ``size`` bytes only where it closed its end."""
        got = b""
        while len(got) < size:
            _wait(self._answers, select.POLLIN, until)
            part = os.read(self._answers, size - len(got))
            if not part:
                break
            got += part
        return got

    def _stop(self) -> None:
        """Ask it to end all that it started, and then itself; only while it is not reaped."""
        os.kill(self._process.pid, signal.SIGTERM)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self, began: float) -> Ending:
        """Wait for its end, which is brought about if need be."""
        with _deadline(ENDING, self._kill_group):
            _, status, usage = os.wait4(self._process.pid, 0)
        seconds = time.monotonic() - began
        ending = Ending.of(status, usage, seconds=seconds, memory=self.memory)
        self._process.returncode = ending.code
        return ending

    def kill(self) -> None:
        """End it and everything it started; twice does no harm."""
        if self.alive:
            self._stop()
            self._reap(time.monotonic())
        self._kill_group()  # what its group may still hold
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.join()


def _give(path: Path | str, uid: int) -> None:
    """Nobody but us knows of the folder yet: no link in it is a stranger's."""
    os.chown(path, uid, uid, follow_symlinks=False)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _give(entry.path, uid)
            else:
                os.chown(entry.path, uid, uid, follow_symlinks=False)


def _wait(descriptor: int, event: int, until: float) -> None:
    """Until it is ready. No thread has to watch the clock for that."""
    ready = select.poll()
    ready.register(descriptor, event)
    if not ready.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _named(function: Callable[..., object]) -> str:
    """As the child imports it."""
    return f"{function.__module__}:{function.__qualname__}"


@contextlib.contextmanager
def _deadline(seconds: float, expire: Callable[[], None]) -> Iterator[None]:
    """Call ``expire`` after ``seconds`` unless the block has ended."""
    timer = threading.Timer(seconds, expire)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


class _Capped(threading.Thread):
    """Reads a pipe to its end and keeps the first ``limit`` bytes."""

    def __init__(self, pipe: IO[bytes], limit: int) -> None:
        super().__init__(daemon=True)
        self._pipe, self._room = pipe, limit
        self.bytes = b""
        self.start()

    def run(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), 65536):
                kept = chunk[: self._room]
                self._room -= len(kept)
                self.bytes += kept
