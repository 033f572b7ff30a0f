"""Every folder here is a workload; :func:`discover` finds them. Workloads never import each other.

A workload has ``workload.py`` with ``MODELS`` (imported for their tables) and ``QUEUES``, and where
rows belong to users with ``owned(session, row_id, user_id)``, which says whether one does. What it
may not keep of a person who is erased goes by ``erase(session, user_id)``.
Statements in ``ANNOUNCEMENTS`` emit the events that follow from its rows, see ``backend.events``:
they are run when ``events_due()`` was called, in a transaction of their own. It may
have ``api.py`` with ``BLUEPRINTS`` (only the web host imports it) and ``pipeline.py`` with
``pipelines(settings)``, and ``duties(settings)`` where it has any (only the worker imports it).
What maintenance may remove is in ``upkeep.py``: rows in ``RETENTION``, files in
``caches(settings)``, see ``backend.upkeep``.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a child process imports this package and must start fast
    from sqlalchemy.orm import Session

    from backend.queue.lifecycle import Queue


def discover() -> list[ModuleType]:
    """The ``workload`` module of each workload, by name; importing them declares their tables."""
    folders = sorted(p.parent.name for p in Path(__file__).parent.glob("*/workload.py"))
    return [import_module(f"{__name__}.{folder}.workload") for folder in folders]


def queues() -> "list[Queue]":
    """Every queue that any workload declares."""
    return [queue for workload in discover() for queue in workload.QUEUES]


def owned(session: "Session", queue: "Queue", row_id: int, user_id: int) -> bool:
    """Whether a row is the user's own, who may then see what becomes of it.

    Of a workload that does not say whose its rows are, none is anybody's.
    """
    return any(
        workload.owned(session, row_id, user_id)
        for workload in discover()
        if queue in workload.QUEUES and hasattr(workload, "owned")
    )


def erase(session: "Session", user_id: int) -> None:
    """Delete what any workload keeps about a person whom the transaction has locked."""
    for workload in discover():
        if hasattr(workload, "erase"):
            workload.erase(session, user_id)


def parts(name: str) -> Iterator[ModuleType]:
    """Module ``name`` ("api", "pipeline") of each workload that has one."""
    for workload in discover():
        package = workload.__name__.rpartition(".")[0]
        if find_spec(f"{package}.{name}") is not None:
            yield import_module(f"{package}.{name}")
