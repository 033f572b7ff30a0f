"""The outside of a child process: start it, feed it, bound it, and name the cause of its death."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.problems import Malformed
from backend.queue.pipeline import Step
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from backend.strictjson import loads

MAX_ANSWER: Final = 32 * 1024 * 1024
MAX_STDERR: Final = 4096
MEMORY_WORDS: Final = (b"MemoryError", b"Cannot allocate memory")


class Children:
    """Runs PROCESS steps, at most ``limit`` children at once."""

    def __init__(self, limit: int) -> None:
        self._slots = threading.BoundedSemaphore(limit)

    def run(self, step: Step, snapshot: BaseModel, *, started: Callable[[], None]) -> Any:
        """Run ``step`` on ``snapshot`` in a fresh process; ``started`` is called with the slot.

        Raises:
            Permanent, Transient: what the step itself raised.
            TimedOut: the hard limit passed; the child was killed.
            Died: a signal, the memory limit or an exit without an answer.
        """
        with self._slots:
            started()
            with tempfile.TemporaryDirectory(prefix="lockkeeper-step-") as scratch:
                code, out, err = _communicate(step, snapshot, scratch)
        if code != 0:
            raise Died(_cause(step, code, err))
        return _read(step, out)


def _communicate(step: Step, snapshot: BaseModel, scratch: str) -> tuple[int, bytes, bytes]:
    seconds = step.timeout.total_seconds()
    target = f"{step.run.__module__}:{step.run.__qualname__}"
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "workers.child", target, str(step.memory), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": scratch, "HOME": scratch},
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    with child:
        out, err = _Capped(child.stdout, MAX_ANSWER), _Capped(child.stderr, MAX_STDERR)
        try:
            feeder = threading.Thread(
                target=_feed, args=(child.stdin, snapshot.model_dump_json().encode())
            )
            feeder.start()
            code = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"killed at the hard limit of {seconds:.0f} s") from None
        finally:
            # The whole group: a child of the child must not outlive its limit either.
            _kill_group(child.pid)
            feeder.join()
            out.join()
            err.join()
    return code, out.bytes, err.bytes


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        pipe.write(data)
        pipe.close()
    except (BrokenPipeError, ValueError):
        pass  # it died first; its exit code says why


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class _Capped(threading.Thread):
    """Reads a pipe to its end and keeps the first ``limit`` bytes (one more tells: too long)."""

    def __init__(self, pipe: IO[bytes], limit: int) -> None:
        super().__init__(daemon=True)
        self._pipe, self._limit = pipe, limit + 1
        self.bytes = b""
        self.start()

    def run(self) -> None:
        kept: list[bytes] = []
        room = self._limit
        while chunk := self._pipe.read1(65536):  # type: ignore[attr-defined] # BufferedReader
            kept.append(chunk[:room])
            room -= len(kept[-1])
        self.bytes = b"".join(kept)


def _cause(step: Step, code: int, err: bytes) -> str:
    if any(word in err for word in MEMORY_WORDS):
        return f"child ran out of its {step.memory // 2**20} MiB"
    if code < 0:
        return f"child killed by {signal.Signals(-code).name}"
    last = err.decode(errors="replace").strip().splitlines()[-1:]
    return f"child exited with {code}" + (f": {last[0][:200]}" if last else "")


def _read(step: Step, out: bytes) -> Any:
    """The child opened a stranger's bytes, so its answer is a stranger's too."""
    if len(out) > MAX_ANSWER:
        raise Permanent(f"the step's answer is longer than {MAX_ANSWER} bytes")
    try:
        said: Any = loads(out)
        match said:
            case {"ok": value}:
                return TypeAdapter(step.result).validate_python(value)
            case {"permanent": str(detail)}:
                raise Permanent(detail)
            case {"timeout": str(detail)}:
                raise TimedOut(detail)
            case {"died": str(detail)}:
                raise Died(detail)
            case {"transient": str(detail)}:
                raise Transient(detail)
    except (Malformed, ValidationError) as error:
        raise Died(f"child answered nonsense: {type(error).__name__}") from None
    raise Died("child answered nonsense")
