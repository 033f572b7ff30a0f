"""One kept child process: start it, ask it one thing at a time, end it, name how it ended."""

import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final, TypeAlias

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

Watch: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""``with watch(stop)``: ``stop()`` is called when the row is lost, and never after the block."""


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
        )
        assert self._process.stderr is not None
        self._errors = _Capped(self._process.stderr, MAX_STDERR)
        with _deadline(STARTING, self._kill_group):
            said = self._receive()
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
            pages = Path(f"/proc/{self.confinement.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * resource.getpagesize()

    def give(self, folder: Path) -> None:
        """Let ``folder`` and what is in it belong to the child's own user, where it has one."""
        if self.confinement.own_uid:
            uid = self.confinement.uid
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid, follow_symlinks=False)

    def ask(self, step: Step, snapshot: object, scratch: Path, watch: Watch) -> bytes:
        """The child's answer, at most :data:`MAX_ANSWER` bytes of it.

        Args:
            step: what to run; its hard limit counts from here.
            snapshot: the step's input, as JSON values.
            scratch: the row's own folder.
            watch: told how to stop the child while it works on this row.

        Raises:
            TimedOut, Died, Permanent: there is none; the child is to be killed.
        """
        self.tasks += 1
        seconds = step.timeout.total_seconds()
        task = {
            "target": _named(step.run),
            "rehearse": _named(step.rehearse) if step.rehearse else None,
            "snapshot": snapshot,
            "seconds": seconds,
            "scratch": str(scratch),
        }
        began = time.monotonic()
        with watch(self._stop), _deadline(seconds + BACKSTOP, self._kill_group) as passed:
            out = self._exchange(json.dumps(task).encode())
        if out is not None:
            return out
        ending = self._reap(began)
        self._errors.join()
        if passed.is_set():
            raise TimedOut(ending.at_hard_limit(seconds))
        raise Died(f"child {ending.cause(self._errors.bytes)}")

    def _exchange(self, task: bytes) -> bytes | None:
        """None where the child ended, or was killed, before it answered."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(task)) + task)
            self._process.stdin.flush()
            return self._receive()
        except (BrokenPipeError, ConnectionResetError):
            return None

    def _receive(self) -> bytes | None:
        stdout = self._process.stdout
        assert stdout is not None
        head = stdout.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        if length > MAX_ANSWER:
            raise Permanent(f"the step's answer is longer than {MAX_ANSWER} bytes")
        body = stdout.read(length)
        return body if len(body) == length else None

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


def _named(function: Callable[..., object]) -> str:
    """As the child imports it."""
    return f"{function.__module__}:{function.__qualname__}"


@contextlib.contextmanager
def _deadline(seconds: float, expire: Callable[[], None]) -> Iterator[threading.Event]:
    """Call ``expire`` after ``seconds`` unless the block has ended; the event says whether."""
    passed = threading.Event()

    def fire() -> None:
        passed.set()
        expire()

    timer = threading.Timer(seconds, fire)
    timer.start()
    try:
        yield passed
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
