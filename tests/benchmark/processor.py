"""Processor time of processes, from proc(5)."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class TooFew(Exception):
    """The machine has fewer processors than were asked for."""


def family(pid: int) -> list[tuple[int, Usage]]:
    """``pid`` and its descendants; nothing where it is gone."""
    children: defaultdict[int, list[tuple[int, Usage]]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (used := usage(int(entry.name))):
            children[used.parent].append((int(entry.name), used))
    own = usage(pid)
    members = [(pid, own)] if own else []
    for member, _ in members:
        members += children[member]
    return members


@contextmanager
def confined(pid: int, count: int) -> Iterator[None]:
    """Keep ``pid`` with its descendants, and us with what we start, on ``count`` processors.

    Raises:
        TooFew: there are not as many.
    """
    all_of_them = os.sched_getaffinity(0)
    if len(all_of_them) < count:
        raise TooFew(f"this machine has {len(all_of_them)} processors, not {count}")
    try:
        _keep_on(pid, set(sorted(all_of_them)[:count]))
        yield
    finally:
        _keep_on(pid, all_of_them)


def _keep_on(pid: int, processors: set[int]) -> None:
    for member in (0, *(member for member, _ in family(pid))):
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(member, processors)


def family_seconds(pid: int) -> float:
    """Seconds of processor time of ``pid`` and its descendants, those that ended included."""
    return sum(used.own + used.reaped for _, used in family(pid)) / TICKS
