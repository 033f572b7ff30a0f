"""The outside of a child process: start it, feed it, bound it, and name the cause of its death."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.problems import Malformed
from backend.queue.pipeline import Step
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from backend.strictjson import loads

MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
MAX_STDERR: Final = 4096  # bytes
TASKS: Final = 100
"""A child is replaced after so many."""
BACKSTOP: Final = 5.0  # seconds past a step's hard limit, which the child itself enforces

MEMORY_WORDS: Final = (b"MemoryError", b"Cannot allocate memory")
LENGTH: Final = struct.Struct(">I")

# Without site: a child needs no hooks, and start-up is most of what it costs.
BOOT: Final = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from workers.child import main; main()"
)
IMPORT_PATH: Final = "\n".join([str(Path(__file__).parents[1]), *filter(None, sys.path)])


class Children:
    """Runs PROCESS steps, at most ``limit`` children at once.

    Children are spawned, never forked from this process, and kept for rows of the same memory
    limit; each forks for each row, so that no row can reach another's answer.
    """

    def __init__(self, limit: int) -> None:
        self._slots = threading.BoundedSemaphore(limit)
        self._idle: deque[_Child] = deque()

    def run(self, step: Step, snapshot: BaseModel, *, started: Callable[[], None]) -> Any:
        """Run ``step`` on ``snapshot``; ``started`` is called once a slot is free.

        Raises:
            Permanent, Transient: what the step itself raised.
            TimedOut: the hard limit passed; the child was killed.
            Died: a signal, the memory limit or an exit without an answer.
        """
        with self._slots:
            started()
            child = self._take(step.memory)
            try:
                out = child.ask(step, snapshot)
            except BaseException:
                child.kill()
                raise
            said = _read(out)
            if child.tasks < TASKS:
                self._idle.append(child)
            else:
                child.kill()
        return _result(step, said)

    def _take(self, memory: int) -> "_Child":
        with contextlib.suppress(IndexError):
            while True:
                child = self._idle.popleft()
                if child.memory == memory and child.alive:
                    return child
                child.kill()
        return _Child(memory)

    def close(self) -> None:
        """End the idle children."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.popleft().kill()


class _Child:
    """One process, asked one thing at a time."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.tasks = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, IMPORT_PATH, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._errors = _Capped(self._process.stderr, MAX_STDERR)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, step: Step, snapshot: BaseModel) -> bytes:
        """The child's answer, at most :data:`MAX_ANSWER` bytes of it.

        Raises:
            TimedOut, Died, Permanent: there is none; the child is to be killed.
        """
        self.tasks += 1
        seconds = step.timeout.total_seconds()
        with tempfile.TemporaryDirectory(prefix="lockkeeper-step-") as scratch:
            task = {
                "target": f"{step.run.__module__}:{step.run.__qualname__}",
                "snapshot": snapshot.model_dump(mode="json"),
                "seconds": seconds,
                "scratch": scratch,
            }
            with _deadline(seconds + BACKSTOP, self._end) as passed:
                out = self._exchange(json.dumps(task).encode())
        if out is None:
            code = self._process.wait()
            self._end()  # what it started may still hold its pipes
            self._errors.join()
            if passed.is_set():
                raise TimedOut(f"killed at the hard limit of {seconds:.0f} s")
            raise Died(self._cause(code))
        return out

    def _exchange(self, task: bytes) -> bytes | None:
        """None where the child ended, or was killed, before it answered."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(LENGTH.pack(len(task)) + task)
            stdin.flush()
            head = stdout.read(LENGTH.size)
            if len(head) < LENGTH.size:
                return None
            (length,) = LENGTH.unpack(head)
            if length > MAX_ANSWER:
                raise Permanent(f"the step's answer is longer than {MAX_ANSWER} bytes")
            body = stdout.read(length)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return body if len(body) == length else None

    def _cause(self, code: int) -> str:
        if any(word in self._errors.bytes for word in MEMORY_WORDS):
            return f"child ran out of its {self.memory // 2**20} MiB"
        if code < 0:
            return f"child killed by {signal.Signals(-code).name}"
        last = self._errors.bytes.decode(errors="replace").strip().splitlines()[-1:]
        return f"child exited with {code}" + (f": {last[0][:200]}" if last else "")

    def _end(self) -> None:
        """Its whole group: a child of the child must not outlive its limit either."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        self._end()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.join()


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


def _read(out: bytes) -> dict[str, Any]:
    """The child opened a stranger's bytes, so its answer is a stranger's too."""
    try:
        said = loads(out)
    except Malformed:
        said = None
    return said if isinstance(said, dict) else {"died": "child answered nonsense"}


def _result(step: Step, said: dict[str, Any]) -> Any:
    match said:
        case {"ok": value}:
            try:
                return TypeAdapter(step.result).validate_python(value)
            except ValidationError:
                raise Died("child answered nonsense") from None
        case {"permanent": str(detail)}:
            raise Permanent(detail)
        case {"timeout": str(detail)}:
            raise TimedOut(detail)
        case {"transient": str(detail)}:
            raise Transient(detail)
        case {"died": str(detail)}:
            raise Died(detail)
    raise Died("child answered nonsense")
