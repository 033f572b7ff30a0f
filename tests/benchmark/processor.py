"""Processor time of processes, from proc(5)."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Of one process, in clock ticks; ``reaped`` is that of its children that have ended."""

    parent: int
    own: int
    reaped: int


def usage(pid: int) -> Usage | None:
    """Of one process; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Usage(
        int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    )


def family_seconds(pid: int) -> float:
    """Seconds of processor time of ``pid`` and its descendants, those that ended included."""
    children: defaultdict[int, list[tuple[int, Usage]]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (used := usage(int(entry.name))):
            children[used.parent].append((int(entry.name), used))
    own = usage(pid)
    if own is None:
        return 0.0
    members = [(pid, own)]
    for member, _ in members:
        members += children[member]
    return sum(used.own + used.reaped for _, used in members) / TICKS
