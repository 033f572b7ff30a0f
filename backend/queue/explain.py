"""Every row can say why it is where it is and what happens next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.db import Base
from backend.queue.lanes import PRIORITIES
from backend.queue.lifecycle import SUSPECT_STALLS, Queue
from backend.queue.reasons import reason
from backend.queue.situation import COUNTED, Reason, Situation
from backend.queue.sql import explaining, server

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row of ``queue`` now.

    ``reason`` is a stable code, ``sentence`` one or more plain sentences for a person, ``facts``
    what they rest on (times as ISO 8601 in UTC, ``seconds`` as a number). ``next_at`` is when
    something is due to happen by itself, where that is known.

    A table may carry several queues: ``queue`` is the one that the row is in now, and the fact
    ``asked`` names the one that was asked, where that is another.
    """

    queue: str
    id: int
    status: str
    reason: str
    sentence: str
    facts: Mapping[str, Fact]
    next_at: datetime | None


def explain(session: Session, queue: Queue, row_id: int) -> Explanation | None:
    """Why the row is where it is; None where there is none. Reads a bounded number of rows."""
    row = session.execute(explaining.row_now(queue), {"row_id": row_id}).one_or_none()
    if row is None:
        return None
    owner = _owner(queue, row)
    if owner is None:
        return _explanation(queue, row, _unknown(row))
    found = reason(_situation(session, owner, row))
    return _explanation(owner, row, found, asked=queue)


def _owner(queue: Queue, row: Row[Any]) -> Queue | None:
    """The queue that the row is in now: the one asked, or another of the same table."""
    return next((one for one in (queue, *_beside(queue)) if _holds(one, row)), None)


def _beside(queue: Queue) -> list[Queue]:
    declared = {
        one.name: one
        for mapper in Base.registry.mappers
        for one in getattr(mapper.class_, "__queues__", ())
        if one.table == queue.table and one.name != queue.name
    }
    return list(declared.values())


def _holds(queue: Queue, row: Row[Any]) -> bool:
    if row.status not in queue.words:
        return False
    # Queues of one table may share the word for failed rows.
    elsewhere = row.failed_from not in (None, queue.ready)
    return not (elsewhere and row.status in {queue.failed, queue.cancel_word})


def _situation(session: Session, queue: Queue, row: Row[Any]) -> Situation:
    known = {"row_id": row.id, "partition": row.partition, "holder": row.leased_by}
    seen = session.execute(explaining.servers(queue), known).all()
    return Situation(
        queue=queue,
        row=row,
        last=session.execute(explaining.last_line(queue), known).one_or_none(),
        pauses=session.execute(explaining.pauses(queue), known).all(),
        workers=[worker for worker in seen if worker.serves],
        holder=next((worker for worker in seen if worker.name == row.leased_by), None),
        ahead=_ahead(session, queue, row),
        locker=session.execute(server.LOCKERS, {"xids": [row.locker]}).first(),
    )


def _ahead(session: Session, queue: Queue, row: Row[Any]) -> int | None:
    if row.status != queue.ready or not row.due or row.stalls >= SUSPECT_STALLS:
        return None
    params: dict[str, Any] = {"row_id": row.id, "most": COUNTED + 1}
    if not queue.fair:
        lanes = list(product(PRIORITIES, queue.partitions or ("",)))
        params["lanes_priority"] = [priority for priority, _ in lanes]
        if queue.partitions:
            params["lanes_partition"] = [partition for _, partition in lanes]
    return int(session.execute(explaining.ahead(queue), params).scalar_one())


def _unknown(row: Row[Any]) -> Reason:
    sentence = (
        f"No queue of this release knows the status {row.status!r}: a newer release may have"
        " written it. Nothing happens to it here."
    )
    return Reason("unknown-status", sentence)


def _explanation(
    queue: Queue, row: Row[Any], why: Reason, asked: Queue | None = None
) -> Explanation:
    other = asked is not None and asked is not queue
    facts = {**_common(row), **why.facts, **({"asked": asked.name} if other and asked else {})}
    begins = f"It is in the queue {queue.name} now, of the same table. " if other else ""
    return Explanation(
        queue=queue.name,
        id=row.id,
        status=row.status,
        reason=why.code,
        sentence=begins + why.sentence,
        facts={name: _fact(value) for name, value in facts.items()},
        next_at=why.next_at,
    )


def _common(row: Row[Any]) -> dict[str, Any]:
    common = {
        "priority": row.priority,
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "stalls": row.stalls,
        "step": row.step,
        "available_at": row.available_at,
        "error": row.error,
    }
    if row.partition is not None:
        common["partition"] = row.partition
    if row.fairness_key is not None:
        common["fairness_key"] = row.fairness_key
    return common


def _fact(value: Any) -> Fact:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return round(value, 3) if isinstance(value, float) else value
