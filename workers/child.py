"""The inside of a child process: one step on a stranger's bytes, under limits, JSON in and out.

Started as ``python -I -m workers.child module:function memory seconds``. It has no database, no
lease, no secrets in its environment and no inherited descriptors. Imports nothing heavy.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

from backend.queue.confinement import confine
from backend.queue.retry import Permanent, Transient

SOFT = 0.9
"""Of the hard limit: when the step itself is told, and can still clean up."""


def soft_limit(seconds: float) -> None:
    """Raise TimeoutError inside the step shortly before the parent would kill us."""

    def expired(_signal: int, _frame: Any) -> NoReturn:
        raise TimeoutError(f"soft limit of {seconds:.0f} s")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def answer(target: str, raw: bytes) -> dict[str, Any]:
    """Run ``module:function`` on the JSON object in ``raw`` and shape what came of it."""
    try:
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        return {"ok": function(json.loads(raw))}
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


def main() -> None:
    target, memory, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    confine(memory=memory, seconds=int(seconds) + 1)
    soft_limit(seconds * SOFT)
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
