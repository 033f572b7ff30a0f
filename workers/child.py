"""The inside of a child process: steps on strangers' bytes, under limits, JSON in and out.

Started by ``isolation.py`` with its memory limit in bytes. It has no database, no lease, no
secrets in its environment and no inherited descriptors. Imports nothing heavy.

This process itself never looks at a stranger's bytes. It forks for each task, a matter of a
millisecond, and the fork has that row alone: what an input does to it, leaves in its memory or
starts is gone before the next row.

Frames in both directions: four bytes of length (big-endian), then JSON. A task is
``{"target": "module:function", "snapshot": {...}, "seconds": hard limit, "scratch": folder}``.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from typing import Any, BinaryIO, Final, NoReturn

from backend.queue.confinement import (
    MAX_OPEN_FILES,
    adopt_orphans,
    allow_processor_time,
    children,
    confine,
    die_with_parent,
)
from backend.queue.retry import Permanent, Transient

SOFT: Final = 0.9
"""Of the hard limit: when the step itself is told, and can still clean up."""

LENGTH: Final = struct.Struct(">I")
CHUNK: Final = 65536
MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
TOO_LONG: Final = f"the step's answer is longer than {MAX_ANSWER} bytes"
PRINTED: Final = 4096  # bytes of what a fork printed last, searched for the cause of its death
MEMORY_WORDS: Final = (b"MemoryError", b"Cannot allocate memory")


def soft_limit(seconds: float) -> None:
    """Raise TimeoutError inside the step shortly before the parent would kill us."""

    def expired(_signal: int, _frame: Any) -> NoReturn:
        raise TimeoutError(f"soft limit of {seconds:.0f} s")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Run the task's function on its snapshot and shape what came of it."""
    seconds = task["seconds"]
    os.chdir(task["scratch"])
    allow_processor_time(seconds)
    try:
        soft_limit(seconds * SOFT)
        module, _, name = task["target"].partition(":")
        function = getattr(importlib.import_module(module), name)
        return {"ok": function(task["snapshot"])}
    except Permanent as error:
        return {"permanent": error.detail}
    except Transient as error:
        return {"transient": error.detail}
    except MemoryError:
        return {"died": "out of its memory limit"}
    except TimeoutError as error:
        return {"timeout": str(error)}
    except Exception as error:  # noqa: BLE001 - the parent decides what an unknown error means
        return {"transient": f"{type(error).__name__}: {error}"[:1000]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """One task after the other, each in a fork of its own, until the parent closes the pipe."""
    while length := tasks.read(LENGTH.size):
        task = json.loads(tasks.read(*LENGTH.unpack(length)))
        # The step's code is ours: imported here, it is there for all rows to come.
        importlib.import_module(task["target"].partition(":")[0])
        said = forked(task)
        answers.write(LENGTH.pack(len(said)) + said)
        answers.flush()


def forked(task: dict[str, Any]) -> bytes:
    """What a fork answers to ``task``; nothing that it started, or left in memory, stays."""
    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as printed, os.fdopen(ours, "rb") as pipe:
        pid = os.fork()
        if pid == 0:
            _be_the_fork(task, theirs, printed.fileno())
        os.close(theirs)
        try:
            said = _collect(pipe, time.monotonic() + task["seconds"])
        finally:
            code = end_descendants(pid)
        if said:
            return said
        if said is None:
            end = {"timeout": f"killed at the hard limit of {task['seconds']:.0f} s"}
        else:
            printed.seek(max(0, printed.seek(0, os.SEEK_END) - PRINTED))
            end = {"died": cause(code, printed.read())}
    return json.dumps(end).encode()


def _be_the_fork(task: dict[str, Any], pipe: int, printed: int) -> NoReturn:
    """Answer ``task`` into ``pipe`` and end, without any of the parent's own pipes."""
    code = 1
    try:
        os.setsid()
        die_with_parent()
        # Whatever a library prints must not be taken for an answer.
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, MAX_OPEN_FILES)
        said = json.dumps(answer(task)).encode()
        with os.fdopen(pipe, "wb") as out:
            out.write(LENGTH.pack(len(said)) + said)
        code = 0
    except SystemExit as exited:
        code = exited.code if isinstance(exited.code, int) else 1
    except BaseException:  # noqa: BLE001 - its last line names the cause
        traceback.print_exc()
    finally:
        os._exit(code)


def _collect(pipe: BinaryIO, deadline: float) -> bytes | None:
    """The one frame that a fork sends; empty where it ended without, None past ``deadline``."""
    got, expected = bytearray(), LENGTH.size
    while len(got) < expected:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(pipe.fileno(), min(CHUNK, expected - len(got)))
        if not chunk:
            return b""
        got += chunk
        if expected == LENGTH.size == len(got):
            expected += LENGTH.unpack(got)[0]
            if expected > MAX_ANSWER:
                return json.dumps({"permanent": TOO_LONG}).encode()
    return bytes(got[LENGTH.size :])


def end_descendants(pid: int) -> int:
    """Kill the fork and all it started, also what left its session; answers its exit code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(ChildProcessError):
        while True:  # orphans come to us; those of an orphan, once it is dead
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # is there any?
            for orphan in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
            os.waitpid(-1, 0)
    return code


def cause(code: int, printed: bytes) -> str:
    """Why a fork ended without an answer, in words."""
    if any(word in printed for word in MEMORY_WORDS):
        return "out of its memory limit"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    last = printed.decode(errors="replace").strip().splitlines()[-1:]
    return f"exited with {code}" + (f": {last[0][:200]}" if last else "")


def main() -> None:
    confine(memory=int(sys.argv[1]))
    adopt_orphans()
    gc.freeze()  # a fork that collected what it inherited would copy every page of it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
