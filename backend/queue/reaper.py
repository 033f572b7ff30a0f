"""Stalled leases: ready again, or quarantined after a death while alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue import fleet, sql
from backend.queue.claiming import suspect_params, waiting_params
from backend.queue.leases import DEFAULT_TTL
from backend.queue.lifecycle import Queue

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Reaped:
    """One row taken back. ``failure`` is ``poison`` where it was quarantined, else None."""

    id: int
    status: str
    failure: str | None
    held_by: str


@dataclass(frozen=True, slots=True)
class Looked:
    """Names of the queues in which there is something ``stalled``, ``suspects``, or ``held``.

    ``waits`` tells, of each by its name, in how many seconds a claim may find a row, at most 0
    where it may now; None where none is to come. Of a queue that is not in it nothing is known.
    """

    stalled: set[str]
    suspects: set[str]
    held: set[str]
    waits: dict[str, float | None] = field(default_factory=dict)


def look(
    session: Session,
    horizons: Mapping[Queue, Mapping[str, timedelta]],
    served: Mapping[Queue, Sequence[str] | None],
    *,
    ttl: timedelta = DEFAULT_TTL,
    waiting: bool = False,
) -> Looked:
    """Where somebody who may judge would find something to reap now, and suspects to run.

    One statement, however many queues there are, which takes no lock.

    Args:
        horizons: of the queues to look for stalled rows in, each as for :func:`reap`.
        served: as for :func:`backend.queue.claiming.suspects_wait`.
        ttl: the lease time.
        waiting: whether to find out as well when the next row of each served queue is ready, as
            good as an empty claim of each.
    """
    params: dict[str, Any] = {"ttl": ttl, "reaper": None, "late": ttl, **suspect_params(served)}
    if waiting:
        params |= waiting_params(served)
    for n, longest in enumerate(horizons.values()):
        params[f"horizons{n}_status"] = list(longest)
        params[f"horizons{n}_longest"] = list(longest.values())
    asked = sql.look(tuple(horizons), tuple(served), waiting=waiting)
    looked = Looked(set(), set(), set())
    names = {sql.STALLED: looked.stalled, sql.SUSPECT: looked.suspects, sql.HELD: looked.held}
    for what, queue, wait in session.execute(asked, params):
        if what == sql.WAITING:
            looked.waits[queue] = wait
        else:
            names[what].add(queue)
    return looked


def reap(
    session: Session,
    queue: Queue,
    *,
    horizons: Mapping[str, timedelta],
    ttl: timedelta = DEFAULT_TTL,
    worker: str | None = None,
    limit: int = BATCH,
) -> list[Reaped]:
    """Take back rows whose lease expired or that made no progress within their horizon.

    Args:
        horizons: for each held status, the longest time without progress.
        ttl: the lease time; nothing is reaped until the server has been up for that long, so
            that an outage blames nobody.
        worker: who reaps. A worker may judge others only after one lease time in which every
            heartbeat of its own came in time; a person (None) knows why.

    Returns:
        What was reaped; nothing where another reaper is at this table.
    """
    if not session.scalar(sql.try_reaper_lock(queue.table)):
        return []
    params = {
        "horizons_status": list(horizons),
        "horizons_longest": list(horizons.values()),
        "ttl": ttl,
        "reaper": worker,
        "late": fleet.late_after(ttl),
        "limit": limit,
    }
    found = session.execute(sql.reap(queue), params)
    return [Reaped(row.id, row.status, row.failure, row.leased_by) for row in found]
