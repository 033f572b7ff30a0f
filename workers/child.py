"""The inside of a child process: steps on strangers' bytes, under limits, JSON in and out.

Started by ``isolation.py`` with its memory limit in bytes. It has no database, no lease, no
secrets in its environment and no inherited descriptors. Imports nothing heavy.

Frames in both directions: four bytes of length (big-endian), then JSON. A task is
``{"target": "module:function", "snapshot": {...}, "seconds": hard limit, "scratch": folder}``.
"""

import importlib
import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO, Final, NoReturn

from backend.queue.confinement import allow_processor_time, confine
from backend.queue.retry import Permanent, Transient

SOFT: Final = 0.9
"""Of the hard limit: when the step itself is told, and can still clean up."""

LENGTH: Final = struct.Struct(">I")


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
    """One task after the other, until the parent closes the pipe."""
    while length := tasks.read(LENGTH.size):
        task = json.loads(tasks.read(*LENGTH.unpack(length)))
        said = json.dumps(answer(task)).encode()
        answers.write(LENGTH.pack(len(said)) + said)
        answers.flush()
        os.chdir("/")


def main() -> None:
    confine(memory=int(sys.argv[1]))
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
