"""Signals to processes and their descendants, and what the kernel says of them."""

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """What the kernel says of a process; ``state`` is its letter in proc(5)."""

    pid: int
    state: str
    parent: int
    group: int


def _process(pid: int) -> Process | None:
    """None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, fields[0], int(fields[1]), int(fields[2]))


def _living() -> Iterator[Process]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if entry.isdecimal() and (found := _process(int(entry))) and found.state != "Z":
            yield found


def family(pid: int) -> list[int]:
    """``pid`` and all its living descendants, parents first."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in _living():
        children[process.parent].append(process.pid)
    found_all = [pid]
    for member in found_all:
        found_all += children[member]
    return found_all


def group(leader: int) -> set[int]:
    """The living members of the process group that ``leader`` leads or led."""
    return {process.pid for process in _living() if process.group == leader}


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def stopped(pid: int) -> bool:
    """Whether SIGSTOP has taken hold of it, or it can do nothing more at all."""
    found = _process(pid)
    return found is None or found.state in "TZ"


def freeze_family(pid: int) -> list[int]:
    """Stop ``pid`` first, so that it starts nobody, then its descendants; answers all of them."""
    send(signal.SIGSTOP, pid)
    members = family(pid)
    send(signal.SIGSTOP, *members)
    return members


def kill_family(pid: int) -> None:
    """SIGKILL ``pid`` and all its descendants, so that none outlives the others by a moment."""
    send(signal.SIGKILL, *freeze_family(pid))
