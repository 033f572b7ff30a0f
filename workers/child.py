"""The inside of a child process: one step on a stranger's bytes, under limits, JSON in and out.

Started as ``python -I -m workers.child module:function``. It has no database, no lease, no
secrets in its environment and no inherited descriptors. Imports nothing heavy on purpose.
"""

import contextlib
import ctypes
import importlib
import inspect
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
MAX_FILE_BYTES = 1024**3


def limit_myself(*, memory: int, seconds: int) -> None:
    """Limits a hostile input cannot talk its way out of. ``memory`` in bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def soft_limit(seconds: float) -> None:
    """Raise TimeoutError inside the step shortly before the parent would kill us."""

    def expired(_signal: int, _frame: Any) -> NoReturn:
        raise TimeoutError(f"soft limit of {seconds:.0f} s")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def answer(target: str, raw: bytes) -> dict[str, Any]:
    """Run ``module:function`` on the snapshot in ``raw`` and shape what came of it."""
    from backend.queue.retry import Permanent, Transient  # noqa: PLC0415 - after the limits

    try:
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        (parameter,) = inspect.signature(function, eval_str=True).parameters.values()
        result = function(parameter.annotation.model_validate_json(raw))
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
    return {"ok": result.model_dump(mode="json")}


def main() -> None:
    target, memory, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    limit_myself(memory=memory, seconds=int(seconds) + 1)
    soft_limit(seconds * 0.9)
    raw = sys.stdin.buffer.read()
    # Whatever a library prints must not be taken for the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    said = json.dumps(answer(target, raw)).encode()
    signal.setitimer(signal.ITIMER_REAL, 0)
    with contextlib.suppress(BrokenPipeError), os.fdopen(out, "wb") as pipe:
        pipe.write(said)


if __name__ == "__main__":
    main()
