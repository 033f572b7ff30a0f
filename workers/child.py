"""The inside of a child process: steps on strangers' bytes, under limits, JSON in and out.

Started by ``kept_child.py`` with its memory limit in bytes. It has no database, no lease, no
secrets in its environment and no inherited descriptors. Imports nothing heavy.

This process itself never looks at a stranger's bytes. It forks for each task, a matter of a
millisecond, and the fork has that row alone: what an input does to it, leaves in its memory or
starts is gone before the next row. What the step needs of its own (modules, compiled patterns) is
made ready here, once, by a rehearsal on bytes of our own.

Frames in both directions: four bytes of length (big-endian), then JSON. The first frame out says
what confines this process. A task is
``{"target": "module:function", "snapshot": {...}, "seconds": hard limit, "scratch": folder,
"rehearse": "module:function" or null}``.
"""

import contextlib
import errno
import gc
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import IO, Any, BinaryIO, Final, NoReturn

from backend.queue.confinement import (
    MAX_OPEN_FILES,
    Confinement,
    allow_processor_time,
    children,
    confine,
)
from backend.queue.privileges import adopt_orphans, die_with_parent, library_descriptors
from backend.queue.retry import Permanent, SoftLimit, Transient
from workers.endings import Ending, of_peak, peak_rss

SOFT: Final = 0.9
"""Of the hard limit: when the step itself is told, and can still clean up."""

LENGTH: Final = struct.Struct(">I")
CHUNK: Final = 65536
MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
TOO_LONG: Final = f"the step's answer is longer than {MAX_ANSWER} bytes"
PRINTED: Final = 4096  # bytes of what a fork printed last, searched for the cause of its death


def soft_limit(seconds: float) -> None:
    """Raise SoftLimit inside the step shortly before the parent would kill us."""

    def expired(_signal: int, _frame: Any) -> NoReturn:
        raise SoftLimit(f"soft limit of {seconds:g} s")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Run the task's function on its snapshot and shape what came of it.

    Raises:
        MemoryError: a limit was reached; so does an OSError with EFBIG.
    """
    tempfile.tempdir = task["scratch"]
    allow_processor_time(task["seconds"])
    try:
        os.chdir(task["scratch"])
        soft_limit(task["seconds"] * SOFT)
        return {"ok": function_of(task["target"])(task["snapshot"])}
    except Permanent as error:
        return {"permanent": error.detail}
    except Transient as error:
        return {"transient": error.detail}
    except SoftLimit as limit:
        return {"timeout": f"{limit} {_own_peak()}"}
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.EFBIG:
            raise
        # The parent decides what an unknown error means.
        return {"transient": f"{type(error).__name__}: {error}"[:1000]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def function_of(target: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _own_peak() -> str:
    peak = peak_rss(resource.getrusage(resource.RUSAGE_SELF))
    return of_peak(peak, resource.getrlimit(resource.RLIMIT_AS)[0])


class Zygote:
    """Answers one task after the other, each in a fork of its own.

    Args:
        memory: the address-space limit in bytes that holds for each fork.
        sweep: kills every process that a fork may have left.
    """

    def __init__(self, memory: int, sweep: Callable[[], None]) -> None:
        self._memory = memory
        self._sweep = sweep
        self._prepared: set[str] = set()

    def serve(self, tasks: BinaryIO, answers: BinaryIO) -> None:
        """Until the parent closes the pipe."""
        while length := tasks.read(LENGTH.size):
            task = json.loads(tasks.read(*LENGTH.unpack(length)))
            self._prepare(task)
            try:
                printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _forked
            except OSError as error:  # a full disk is not the row's doing
                full = f"no room for a step's output: {error.strerror}"
                send(answers, json.dumps({"transient": full}).encode())
            else:
                send(answers, self._forked(task, printed))

    def _prepare(self, task: dict[str, Any]) -> None:
        """Have ready what each fork would have to make anew; the step's code is ours."""
        if task["target"] in self._prepared:
            return
        function_of(task["target"])
        if task["rehearse"]:
            function_of(task["rehearse"])()
        self._prepared.add(task["target"])
        gc.collect()
        gc.freeze()  # a fork that collected what it inherited would copy every page of it

    def _forked(self, task: dict[str, Any], printed: IO[bytes]) -> bytes:
        """What a fork answers; nothing that it started, or left in memory, stays."""
        began = time.monotonic()
        ours, theirs = os.pipe()
        with printed, os.fdopen(ours, "rb") as pipe:
            pid = os.fork()
            if pid == 0:
                _be_the_fork(task, theirs, printed.fileno())
            os.close(theirs)
            try:
                said = _collect(pipe, pid, began + task["seconds"])
            finally:
                ending = self._end(pid, began)
            if said:
                return said
            if said is None:
                end = {"timeout": ending.at_hard_limit(task["seconds"])}
            else:
                printed.seek(max(0, printed.seek(0, os.SEEK_END) - PRINTED))
                end = {"died": ending.cause(printed.read())}
        return json.dumps(end).encode()

    def _end(self, pid: int, began: float) -> Ending:
        """Kill the fork and all it started, also what left its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not have its session yet
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - began
        with contextlib.suppress(ChildProcessError):
            while True:  # orphans come to us; those of an orphan, once it is dead
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # is there any?
                self._sweep()
                os.waitpid(-1, 0)
        return Ending.of(status, usage, seconds=seconds, memory=self._memory)


def sweep_space() -> None:
    """Kill all in this process space, of which this is the first process, at one stroke."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def sweep_children() -> None:
    for orphan in children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def send(answers: BinaryIO, said: bytes) -> None:
    answers.write(LENGTH.pack(len(said)) + said)
    answers.flush()


def _be_the_fork(task: dict[str, Any], pipe: int, printed: int) -> NoReturn:
    """Answer ``task`` into ``pipe`` and end, without any of the parent's own pipes."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        die_with_parent()
        # Whatever a library prints must not be taken for an answer.
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _close_all_but({pipe, *library_descriptors()})
        said = json.dumps(answer(task)).encode()
        with os.fdopen(pipe, "wb") as out:
            send(out, said)
        code = 0
    except SystemExit as exited:
        code = exited.code if isinstance(exited.code, int) else 1
    except BaseException:  # noqa: BLE001 - its last line names the cause
        traceback.print_exc()
    finally:
        os._exit(code)


def _close_all_but(kept: set[int]) -> None:
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, MAX_OPEN_FILES)


def _collect(pipe: BinaryIO, pid: int, deadline: float) -> bytes | None:
    """The one frame that a fork sends; empty where it ended without, None past ``deadline``.

    What the fork started may hold its pipe: its end is told by the process, not by the pipe alone.
    """
    with _end_of(pid) as end:
        return _frame(pipe, end, deadline)


@contextlib.contextmanager
def _end_of(pid: int) -> Iterator[list[int]]:
    """Descriptors that can be read once the process has ended; none where there is no such."""
    try:
        opened = [os.pidfd_open(pid)]
    except (AttributeError, OSError):  # another system, an older Linux
        opened = []
    try:
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _frame(pipe: BinaryIO, end: list[int], deadline: float) -> bytes | None:
    got, expected, answers = bytearray(), LENGTH.size, pipe.fileno()
    while len(got) < expected:
        ready, _, _ = select.select([answers, *end], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        if answers not in ready:
            return b""
        chunk = os.read(answers, min(CHUNK, expected - len(got)))
        if not chunk:
            return b""
        got += chunk
        if expected == LENGTH.size == len(got):
            expected += LENGTH.unpack(got)[0]
            if expected > MAX_ANSWER:
                return json.dumps({"permanent": TOO_LONG}).encode()
    return bytes(got[LENGTH.size :])


def _told_to_end(_signal: int, _frame: Any) -> NoReturn:
    sys.exit(0)


def main() -> None:
    memory = int(sys.argv[1])
    confinement: Confinement = confine(memory=memory)
    signal.signal(signal.SIGTERM, _told_to_end)
    adopt_orphans()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    send(answers, json.dumps(asdict(confinement)).encode())
    sweep = sweep_space if confinement.own_processes else sweep_children
    Zygote(memory, sweep).serve(sys.stdin.buffer, answers)
