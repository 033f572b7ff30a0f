"""Running a program we do not trust to stop, to be brief, or to clean up after itself."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 64 * 1024
_ERROR_TAIL = 4096


class ProcessLimitError(Exception):
    """It ran too long or said too much, and its whole process group was killed."""


class TooSlowError(ProcessLimitError):
    """It ran too long."""


@dataclass(frozen=True)
class Finished:
    """``errors`` is the end of standard error, at most 4 KiB."""

    exit_code: int
    output: bytes
    errors: str


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    timeout: float,
    output_bytes: int,
) -> Finished:
    """Run one program to its end, in its own session.

    Args:
        arguments: the program and what it is told; no shell reads them.
        environment: all of it; nothing is inherited.
        directory: where it starts.
        timeout: seconds until everything it started is killed.
        output_bytes: of standard output, at most.

    Raises:
        ProcessLimitError: a limit was reached.
        OSError: it cannot be started.
    """
    with subprocess.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=dict(environment),
        start_new_session=True,
    ) as process:
        try:
            output, errors = _collect(process, time.monotonic() + timeout, output_bytes)
        finally:
            _kill_group(process)
    return Finished(process.returncode, output, errors.decode("utf-8", "replace"))


def _collect(
    process: subprocess.Popen[bytes], deadline: float, output_bytes: int
) -> tuple[bytes, bytes]:
    if process.stdout is None or process.stderr is None:
        raise ValueError("both pipes are needed")
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, errors)
        while selector.get_map():
            for ready, _ in selector.select(_left(deadline)):
                chunk = os.read(ready.fd, _CHUNK)
                if not chunk:
                    selector.unregister(ready.fileobj)
                ready.data.extend(chunk)
            del errors[:-_ERROR_TAIL]
            if len(output) > output_bytes:
                raise ProcessLimitError(f"it wrote more than {output_bytes} bytes")
    try:
        process.wait(_left(deadline))
    except subprocess.TimeoutExpired:
        raise TooSlowError("it did not finish in time") from None
    return bytes(output), bytes(errors)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TooSlowError("it did not finish in time")
    return left


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Also after a good end: what it left behind in its session goes too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
