"""How queues and workers look on a terminal. Strangers' text is cleaned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from backend.cli.words import count, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
_MINUTE, _HOUR, _DAY = 60, 3600, 86400  # seconds


def _table(*headings: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        # Folded, not cut: a name is there to be copied.
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def queue_table(queues: Sequence[Json]) -> Table:
    """A line for each queue."""
    numbers = ("Ready", "Later", "Running", "Oldest", "Workers")
    table = _table("Queue", *numbers, "Paused", right=numbers)
    for queue in queues:
        depth = queue["depth"]
        table.add_row(
            plain(queue["queue"]),
            *(str(depth[state]) for state in ("ready", "later", "held")),
            duration(depth["oldest_wait_seconds"]),
            Text(str(queue["workers"]), style="bold red" if _unserved(queue) else ""),
            Text(paused(queue["paused"]), style="yellow"),
        )
    return table


def _unserved(queue: Json) -> bool:
    """Whether rows wait, and nobody is there to take them."""
    return not queue["workers"] and queue["depth"]["ready"] + queue["depth"]["later"] > 0


def worker_table(workers: Sequence[Json]) -> "RenderableType":
    """A line for each worker."""
    if not workers:
        return "There is no worker."
    table = _table("Worker", "Host", "Pid", "Version", "Queues", "Held", "Beat", "State",
                   right=("Pid", "Held", "Beat"))  # fmt: skip
    for worker in workers:
        state = "draining" if worker["draining"] else "alive"
        table.add_row(
            plain(worker["name"]),
            plain(worker["hostname"]),
            str(worker["pid"]),
            plain(worker["version"]),
            plain(" ".join(worker["queues"])),
            str(worker["held"]),
            duration(worker["heartbeat_age_seconds"]),
            Text(state if worker["alive"] else "silent", style="" if worker["alive"] else "red"),
        )
    return table


def paused(pauses: Sequence[Json]) -> str:
    """``paused by root: the mirror moves``; a partition is named first."""
    return "; ".join(
        plain(
            (f"{p['partition']} " if p["partition"] else "")
            + f"paused by {p['paused_by']}"
            + (f": {p['reason']}" if p["reason"] else "")
        )
        for p in pauses
    )


def preview(answer: Json) -> "RenderableType":
    """How many rows a requeue would take, and why they failed."""
    rows = ("" if answer["complete"] else "at least ") + count(answer["count"], "row")
    head = f"{rows} of {plain(answer['queue'])} would be requeued"
    table = _table("Fingerprint", "Rows", "Failure", "Error, for example", right=("Rows",))
    table.columns[0].min_width = 32  # of a fingerprint, in one piece
    for group in answer["groups"]:
        table.add_row(
            group["fingerprint"],
            str(group["count"]),
            ", ".join(group["failures"]),
            plain(group["example"] or ""),
        )
    return Group(head, table) if answer["groups"] else head


def duration(seconds: float) -> str:
    """``12.4 s``, ``7 min``, ``3 h``, ``2 d``."""
    for unit, word in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds:.1f} s"
