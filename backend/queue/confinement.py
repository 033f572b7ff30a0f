"""Limits that a child process puts on itself before it opens a stranger's bytes.

Imports only the standard library: a child must start within tens of milliseconds.
"""

import ctypes
import resource
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
MAX_FILE_BYTES: Final = 1024**3
MAX_OPEN_FILES: Final = 64


def confine(*, memory: int) -> None:
    """Limits a hostile input cannot talk its way out of; they hold for its children too.

    On Linux the process also dies with its parent and can gain no privileges.

    Args:
        memory: address space in bytes (Linux).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def allow_processor_time(seconds: float) -> None:
    """From now on at most ``seconds`` more; the kernel then ends the process with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
