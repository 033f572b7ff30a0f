"""The inside of a child process: steps on strangers' bytes, under limits, JSON in and out.

Started by ``kept_child.py`` with its memory limit in bytes. It has no database, no lease, no
secrets in its environment and no inherited descriptors. Imports nothing heavy.

This process itself never looks at a stranger's bytes. It forks for each task, a matter of a
millisecond, and the fork has that row alone: what an input does to it, leaves in its memory or
starts is gone before the next row. What the step needs of its own (modules, compiled patterns) is
made ready here, once, by a rehearsal on bytes of our own.

Frames in both directions: four bytes of length (big-endian), then JSON. The first frame out says
what confines this process. A task is two documents with a line feed between them: the step's,
``{"target": "module:function", "seconds": hard limit, "soft": soft one, "rehearse":
"module:function" or null}``, and the row's, ``{"snapshot": {...}, "scratch": folder}``, which only
the fork reads. Before its answer a fork may send words on how far it is, see
``backend.queue.reporting``; they are frames, too, and passed on now and then.
"""

import contextlib
import errno
import fcntl
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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, BinaryIO, Final, NoReturn

from backend import collector
from backend.queue import reporting
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

LENGTH: Final = struct.Struct(">I")
CHUNK: Final = 65536
MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
TOO_LONG: Final = f"the step's answer is longer than {MAX_ANSWER} bytes"
PRINTED: Final = 4096  # bytes of what a fork printed last, searched for the cause of its death
WORDS: Final = 0.25  # seconds between two words of a step that are passed on
MAX_WORD: Final = 3072  # bytes: the longest message, each letter escaped, is shorter
MAX_PRINTED: Final = 16 * 1024 * 1024  # bytes: they are kept in memory that no limit of it counts


def _expired(_signal: int, _frame: Any) -> NoReturn:
    """Told to the step itself shortly before we would be killed."""
    raise SoftLimit


def answer(work: "Work", row: dict[str, Any]) -> dict[str, Any]:
    """Run the step's function on the row's snapshot and shape what came of it.

    Raises:
        MemoryError: a limit was reached; so does an OSError with EFBIG.
    """
    tempfile.tempdir = row["scratch"]
    allow_processor_time(work.seconds)
    try:
        os.chdir(row["scratch"])
        signal.setitimer(signal.ITIMER_REAL, work.soft)
        return {"ok": work.function(row["snapshot"])}
    except Permanent as error:
        return {"permanent": error.detail}
    except Transient as error:
        return {"transient": error.detail}
    except SoftLimit:
        return {"timeout": f"soft limit of {work.soft:g} s {_own_peak()}"}
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.EFBIG:
            raise
        # The parent decides what an unknown error means.
        return {"transient": f"{type(error).__name__}{_place(error)}: {error}"[:1000]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _place(error: Exception) -> str:
    """Where in our own code it was raised: `` in parsing.py:42``; empty where that is not known."""
    for frame in traceback.extract_tb(error.__traceback__)[-1:]:
        return f" in {frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return ""


def function_of(target: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _own_peak() -> str:
    peak = peak_rss(resource.getrusage(resource.RUSAGE_SELF))
    return of_peak(peak, resource.getrlimit(resource.RLIMIT_AS)[0])


@dataclass(frozen=True)
class Work:
    """What a step asks of each fork: a function for at most so many seconds.

    After ``soft`` of them the step itself is told, and can still clean up.
    """

    function: Callable[..., Any]
    seconds: float
    soft: float


class Pipe:
    """A fork's own words, into the pipe of its answer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next = 0.0

    def report(self, percent: int, message: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + WORDS
            word = reporting.packed(percent, message)
            os.write(self._descriptor, LENGTH.pack(len(word)) + word)  # at one stroke: it is short

    def interruptible(self, _stop: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """A fork is killed."""
        return contextlib.nullcontext()


class Zygote:
    """Answers one task after the other, each in a fork of its own.

    It does little itself: what it touches between two forks is copied page by page.

    Args:
        memory: the address-space limit in bytes that holds for each fork.
        alone: it is the first process of its own process space, and all in it end with it.
    """

    def __init__(self, memory: int, *, alone: bool) -> None:
        self._memory = memory
        self._alone = alone
        self._sweep = sweep_space if alone else sweep_children
        self._known: dict[bytes, Work] = {}
        self._library = library_descriptors()

    def serve(self, tasks: BinaryIO, answers: BinaryIO) -> None:
        """Until the parent closes the pipe."""
        while length := tasks.read(LENGTH.size):
            step, _, row = tasks.read(*LENGTH.unpack(length)).partition(b"\n")
            work = self._known.get(step) or self._prepared(step)
            try:
                printed = open_printed()
            except OSError as error:  # a full disk is not the row's doing
                full = f"no room for a step's output: {error.strerror}"
                send(answers, json.dumps({"transient": full}).encode())
            else:
                send(answers, self._forked(work, row, printed, answers))

    def _prepared(self, step: bytes) -> Work:
        """Have ready what each fork would have to make anew; the step's code is ours."""
        told = json.loads(step)
        work = Work(function_of(told["target"]), told["seconds"], told["soft"])
        if told["rehearse"]:
            function_of(told["rehearse"])()
        self._known[step] = work
        collector.settle()  # a fork that collected what it inherited would copy every page of it
        return work

    def _forked(self, work: Work, row: bytes, printed: int, answers: BinaryIO) -> bytes:
        """What a fork answers; nothing that it started, or left in memory, stays."""
        began = time.monotonic()
        ours, theirs = os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                self._be_the_fork(work, row, theirs, printed)
            os.close(theirs)
            try:
                said = _collect(ours, pid, began + work.seconds, partial(send, answers))
            finally:
                status, usage = self._end(pid)
            if said:
                return said
            seconds = time.monotonic() - began
            ending = Ending.of(status, usage, seconds=seconds, memory=self._memory)
            if said is None:
                end = {"timeout": ending.at_hard_limit(work.seconds)}
            else:
                end = {"died": ending.cause(_last(printed))}
            return json.dumps(end).encode()
        finally:
            os.close(ours)
            os.close(printed)

    def _end(self, pid: int) -> tuple[int, resource.struct_rusage]:
        """Kill the fork and all it started, also what left its session; what wait4(2) gives."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not have its session yet
        _, status, usage = os.wait4(pid, 0)
        with contextlib.suppress(ChildProcessError):
            while True:  # orphans come to us; those of an orphan, once it is dead
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # is there any?
                self._sweep()
                os.waitpid(-1, 0)
        return status, usage

    def _be_the_fork(self, work: Work, row: bytes, pipe: int, printed: int) -> NoReturn:
        """Answer ``row`` into ``pipe`` and end, without any of the parent's own pipes."""
        code = 1
        try:
            os.setsid()
            if not self._alone:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                die_with_parent()
            # Whatever a library prints must not be taken for an answer.
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            _close_all_but({pipe, *self._library})
            reporting.speak_to(Pipe(pipe))
            said = json.dumps(answer(work, json.loads(row.decode()))).encode()
            frame = memoryview(LENGTH.pack(len(said)) + said)
            while frame:
                frame = frame[os.write(pipe, frame) :]
            code = 0
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else 1
        except BaseException:  # noqa: BLE001 - its last line names the cause
            traceback.print_exc()
        finally:
            os._exit(code)


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


def _close_all_but(kept: set[int]) -> None:
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, MAX_OPEN_FILES)


def open_printed() -> int:
    """A file for what one fork prints, gone once it is closed; what exceeds it is refused."""
    if hasattr(os, "memfd_create"):
        printed = os.memfd_create("printed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(printed, MAX_PRINTED)
        fcntl.fcntl(printed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        return printed
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _last(printed: int) -> bytes:
    written = os.lseek(printed, 0, os.SEEK_CUR)  # the fork's own place in it
    begin = max(0, written - PRINTED)
    return os.pread(printed, written - begin, begin)


def _collect(
    pipe: int, pid: int, deadline: float, pass_on: Callable[[bytes], None]
) -> bytes | None:
    """What a fork answers; empty where it ended without, None past ``deadline``.

    Some of its words before are passed on: it may be a stranger's by now, and send any number.
    What the fork started may hold its pipe: its end is told by the process, not by the pipe alone.
    """
    try:
        end = [os.pidfd_open(pid)]
    except (AttributeError, OSError):  # another system, an older Linux
        end = []
    try:
        due = 0.0
        while (said := _frame(pipe, end, deadline)) and said.startswith(reporting.MARK):
            now = time.monotonic()
            if now > deadline:  # to speak without end is no way to live longer
                return None
            if len(said) <= MAX_WORD and now >= due:
                due = now + WORDS
                pass_on(said)
        return said
    finally:
        for descriptor in end:
            os.close(descriptor)


def _frame(pipe: int, end: list[int], deadline: float) -> bytes | None:
    got, expected = bytearray(), LENGTH.size
    while len(got) < expected:
        ready, _, _ = select.select([pipe, *end], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        if pipe not in ready:
            return b""
        chunk = os.read(pipe, min(CHUNK, expected - len(got)))  # the next one's is left there
        if not chunk:
            return b""
        got += chunk
        if expected == LENGTH.size <= len(got):
            expected += LENGTH.unpack_from(got)[0]
            if expected > MAX_ANSWER:
                return json.dumps({"permanent": TOO_LONG}).encode()
    return bytes(got[LENGTH.size :])


def _told_to_end(_signal: int, _frame: Any) -> NoReturn:
    sys.exit(0)


def main() -> None:
    memory = int(sys.argv[1])
    confinement: Confinement = confine(memory=memory)
    signal.signal(signal.SIGALRM, _expired)  # for the forks; here rather than in each
    if not confinement.own_processes:  # else who waits for it is told, and kills it
        signal.signal(signal.SIGTERM, _told_to_end)
        adopt_orphans()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    send(answers, json.dumps(asdict(confinement)).encode())
    Zygote(memory, alone=confinement.own_processes).serve(sys.stdin.buffer, answers)
