"""How a process ended, in the words that history keeps."""

import os
import resource
import signal
import sys
from dataclasses import dataclass
from typing import Final

from backend.queue.confinement import MAX_FILE_BYTES

MEBIBYTE: Final = 2**20
RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024  # bytes; getrusage(2)
MEMORY_WORDS: Final = (b"MemoryError", b"Cannot allocate memory")
FILE_WORDS: Final = (b"File too large",)


def peak_rss(usage: resource.struct_rusage) -> int:
    """Bytes."""
    return usage.ru_maxrss * RSS_UNIT


def of_peak(peak: int, memory: int) -> str:
    """Both in bytes."""
    return f"(peak {peak // MEBIBYTE} MiB of {memory // MEBIBYTE} MiB)"


def signal_name(number: int) -> str:
    """``SIGKILL``; of most real-time signals, which have no name, ``signal 35``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Ending:
    """Exit code, negative for a signal; seconds; peak RSS and address-space limit in bytes."""

    code: int
    seconds: float
    peak: int
    memory: int

    @classmethod
    def of(
        cls, status: int, usage: resource.struct_rusage, *, seconds: float, memory: int
    ) -> "Ending":
        """From what wait4(2) gives."""
        return cls(os.waitstatus_to_exitcode(status), seconds, peak_rss(usage), memory)

    def cause(self, printed: bytes) -> str:
        """Why it ended without an answer; ``printed`` is what it said last."""
        return f"{self._reason(printed)} after {self.seconds:.2f} s {self._peak}"

    def at_hard_limit(self, seconds: float) -> str:
        return f"killed at the hard limit of {seconds:g} s {self._peak}"

    @property
    def _peak(self) -> str:
        return of_peak(self.peak, self.memory)

    def _reason(self, printed: bytes) -> str:
        if any(word in printed for word in MEMORY_WORDS):
            return f"out of its memory limit of {self.memory // MEBIBYTE} MiB"
        if any(word in printed for word in FILE_WORDS):
            return f"out of its limit of {MAX_FILE_BYTES // MEBIBYTE} MiB a file"
        if self.code == -signal.SIGXCPU:
            return "killed by SIGXCPU at its limit of processor time"
        if self.code < 0:
            return f"killed by {signal_name(-self.code)}"
        last = printed.decode(errors="replace").strip().splitlines()[-1:]
        return f"exited with {self.code}" + (f" ({last[0][:200]})" if last else "")
