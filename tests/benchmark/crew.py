"""Processes that work on the queue: floor loops or real workers, started together."""

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.benchmark import processor

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 60.0  # seconds for a process to end, or to come to rest
REST: Final = 0.25  # seconds in which a process that is at rest uses a tenth of a processor at most


class CrewError(Exception):
    """A process of the crew ended before its time."""


class Crew:
    """``count`` processes of ``module``, ready to begin; a context that ends them.

    They say ``ready``, and then lines of their own. They are ready to begin when they have come to
    rest, too: a worker says so first, and then connects, prepares its statements, and looks round.
    """

    def __init__(self, module: str, arguments: Sequence[str], count: int = 1) -> None:
        command = [sys.executable, "-m", f"tests.benchmark.{module}", *arguments]
        self._processes = [
            subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        self._last = ["0"] * count
        self._lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Self:
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                self.__exit__()
                raise CrewError(f"a process ended with {process.returncode} before it began")
        for number, process in enumerate(self._processes):
            reader = threading.Thread(target=self._listen, args=(number, process), daemon=True)
            reader.start()
        self._come_to_rest()
        return self

    def _come_to_rest(self) -> None:
        ends, used = time.monotonic() + PATIENCE, -1.0
        while (now := self.processor_seconds()) - used > REST / 10 * len(self._processes):
            if time.monotonic() > ends or not self.alive:
                self.__exit__()
                raise CrewError("a process did not come to rest before it began")
            used = now
            time.sleep(REST)

    def _listen(self, number: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._last[number] = line
            self._lines.put(line)

    def __exit__(self, *_exception: object) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            assert process.stdin is not None
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()

    def begin(self) -> None:
        """Let floor loops go; a worker, which goes by itself, reads nothing."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def hear(self, timeout: float) -> str:
        """The next line that one of them says."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise CrewError(f"nothing was said in {timeout:.0f} s") from None

    @property
    def settled(self) -> int:
        """How many rows floor loops say they have settled."""
        return sum(int(line) for line in self._last)

    @property
    def alive(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def processor_seconds(self) -> float:
        return sum(processor.family_seconds(process.pid) for process in self._processes)
