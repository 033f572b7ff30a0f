"""Where the worker's own processor time goes: a profile of all its threads together."""

import cProfile
import pstats
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TOP: Final = 25
NEWEST: Final = (3, 11)
"""From Python 3.12 on only one profile can be taken at a time, and so of one thread."""


class Unprofilable(Exception):
    """This interpreter cannot take a profile of several threads."""


@contextmanager
def of_all_threads(to: Path) -> Iterator[None]:
    """Write to ``to`` what the threads that are started within did, by processor time.

    Raises:
        Unprofilable: on Python 3.12 and newer.
    """
    if sys.version_info[:2] > NEWEST:
        raise Unprofilable("a profile of all threads needs Python 3.11")
    taken: list[cProfile.Profile] = []

    def begin(*_event: Any) -> None:
        profile = cProfile.Profile(time.thread_time)
        taken.append(profile)
        profile.enable()  # in place of this function, for this thread

    threading.setprofile(begin)
    try:
        yield
    finally:
        threading.setprofile(None)
        _write(taken, to)


def _write(taken: list[cProfile.Profile], to: Path) -> None:
    total: pstats.Stats | None = None
    for profile in taken:
        profile.snapshot_stats()  # of a thread that may live on
        if not profile.stats:
            continue
        if total is None:
            total = pstats.Stats(profile)
        else:
            total.add(profile)
    if total is not None:
        total.dump_stats(to)


def top(written: Path) -> None:
    """Print the functions that took most, by their own processor time."""
    pstats.Stats(str(written)).strip_dirs().sort_stats("tottime").print_stats(TOP)
