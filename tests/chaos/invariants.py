"""What must hold whatever happened, judged from the database alone once all has come to rest."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Engine, Row, select

from backend.db import table_of
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import Queue
from tests.chaos.workload import ENDS, QUEUES, Booking

EFFECTLESS: Final = {("chaos_crates", "deliver")}
"""Stages without a ``save``."""

Lines = Mapping[int, list[Row[Any]]]
Bookings = Mapping[int, Mapping[str, int]]


def unrest(engine: Engine) -> dict[str, int]:
    """How many rows have not ended, by status; empty once all is at rest."""
    counted: Counter[str] = Counter()
    with engine.connect() as connection:
        for queue in QUEUES:
            moving = (queue.ready, *queue.held)
            found = select(queue.rows.c.status).where(queue.rows.c.status.in_(moving))
            counted.update(connection.scalars(found))
    return dict(counted)


def violations(engine: Engine, accepted: Mapping[Queue, Collection[int]]) -> list[str]:
    """Every broken promise, one line each; empty where all is well.

    Args:
        accepted: ids of the rows whose insert the database has acknowledged, by queue.
    """
    return [
        f"{queue.name} {complaint}"
        for queue in QUEUES
        for complaint in _of_queue(engine, queue, accepted.get(queue, ()))
    ]


def _of_queue(engine: Engine, queue: Queue, accepted: Collection[int]) -> Iterator[str]:
    with engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(select(queue.rows))}
        lines, booked = _history(connection, queue), _bookings(connection, queue)
    for missing in sorted(set(accepted) - set(rows)):
        yield f"row {missing}: lost: it was accepted and is gone"
    for row in rows.values():
        known = [*_rest(queue, row), *_end(queue, row, lines[row.id])]
        known += [*_effects(queue, row, booked[row.id]), *_tokens(lines[row.id])]
        if row.status not in queue.held:  # whose attempt has no line yet
            known += _counters(row, lines[row.id])
        yield from (f"row {row.id} ({row.kind}, {row.status}): {said}" for said in known)
    for stray in sorted(set(booked) - set(rows)):
        yield f"row {stray}: orphaned: it has effects and is no row"


def _history(connection: Any, queue: Queue) -> Lines:
    table = table_of(Attempt)
    lines: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    ours = select(table).where(table.c.queue == queue.name).order_by(table.c.ended_at, table.c.id)
    for line in connection.execute(ours):
        lines[line.row_id].append(line)
    return lines


def _bookings(connection: Any, queue: Queue) -> Bookings:
    booked: defaultdict[int, dict[str, int]] = defaultdict(dict)
    ours = select(Booking.row_id, Booking.step, Booking.times).where(Booking.queue == queue.name)
    for row_id, step, times in connection.execute(ours):
        booked[row_id][step] = times
    return booked


def _rest(queue: Queue, row: Row[Any]) -> Iterator[str]:
    """Not stuck, and no lease without a holder."""
    if row.status not in queue.ended:
        yield f"stuck (token {row.lease_token}, lease until {row.lease_expires_at})"
    leased = {name for name in ("lease_token", "leased_by", "lease_expires_at", "heartbeat_at")
              if getattr(row, name) is not None}  # fmt: skip
    if leased and (row.status not in queue.held or len(leased) < 4):
        yield f"a part of a lease is left: {', '.join(sorted(leased))}"


def _end(queue: Queue, row: Row[Any], lines: list[Row[Any]]) -> Iterator[str]:
    """It ended as its kind must, once, and its history says so."""
    ends = [line for line in lines if line.outcome == "done" or line.failure is not None]
    if row.status in queue.ended and row.failure != ENDS[row.kind]:
        guilt = "innocent and convicted" if row.failure == "poison" else "ended wrongly"
        yield f"{guilt}: failure {row.failure}, expected {ENDS[row.kind]}: {row.error}"
    if row.status in queue.ended and len(ends) != 1:
        yield f"settled {len(ends)} times"
    if ends and (ends[-1] is not lines[-1] or ends[-1].failure != row.failure):
        yield f"its history ends with {lines[-1].outcome} {lines[-1].failure}"


def _effects(queue: Queue, row: Row[Any], booked: Mapping[str, int]) -> Iterator[str]:
    """Each committed stage, and a settlement that brought rows, counted once; no other."""
    names = [stage.name for stage in queue.stages]
    finished = names.index(row.step) + 1 if row.step else 0
    if row.status == queue.done:
        finished = len(names)
    elif row.failure == "policy":
        finished += 1
    expected = {name for name in names[:finished] if (queue.name, name) not in EFFECTLESS}
    for name in sorted(expected | set(booked)):
        times = booked.get(name, 0)
        if times != (name in expected):
            yield f"effect of {name} applied {times} times"


def _tokens(lines: list[Row[Any]]) -> Iterator[str]:
    """One line a token, and no two leases at the same time."""
    for token, count in Counter(line.token for line in lines).items():
        if count > 1:
            yield f"{count} attempts ended with token {token}"
    for before, after in pairwise(lines):
        if after.started_at is None or after.started_at < before.ended_at:
            yield f"attempts {before.id} and {after.id} overlap"


def _counters(row: Row[Any], lines: list[Row[Any]]) -> Iterator[str]:
    """``attempts`` and ``stalls`` are what the history adds up to."""
    attempts = stalls = 0
    step = None
    for line in lines:
        attempts += 1
        if line.step != step:  # a step was committed within this attempt
            attempts, stalls, step = 1, 0, line.step
        if line.attempt != attempts:
            yield f"attempt {line.id} counts {line.attempt}, history {attempts}"
        handed_back = line.outcome in ("stalled", "died", "released", "snoozed")
        attempts = line.attempt - (handed_back and line.attempt > 0)
        if line.outcome in ("stalled", "died"):
            stalls += 1
        elif line.outcome != "released":
            stalls = 0
    if row.attempts != attempts:
        yield f"attempts is {row.attempts}, history says {attempts}"
    # A conviction for the death of its own child clears the count, one by the reaper does not.
    if row.stalls != stalls and row.failure != "poison":
        yield f"stalls is {row.stalls}, history says {stalls}"
