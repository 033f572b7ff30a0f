"""Stalled leases: ready again, or quarantined after a death while alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue import fleet, sql
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


def stalled(
    session: Session,
    horizons: Mapping[Queue, Mapping[str, timedelta]],
    *,
    ttl: timedelta = DEFAULT_TTL,
) -> set[str]:
    """Names of the queues in which somebody who may judge would find something to reap now.

    One statement, however many queues there are, which takes no lock. Arguments as for
    :func:`reap`.
    """
    params: dict[str, Any] = {"ttl": ttl, "reaper": None, "late": ttl}
    for n, longest in enumerate(horizons.values()):
        params[f"horizons{n}_status"] = list(longest)
        params[f"horizons{n}_longest"] = list(longest.values())
    return set(session.scalars(sql.some_stalled(tuple(horizons)), params))


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
