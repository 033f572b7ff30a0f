"""One read for all queues of a worker: in which of them is there something to do?

Idle workers send this for ever: more queues must not mean more statements.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Double,
    Integer,
    String,
    cast,
    extract,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.selectable import Select

from backend.db import unnest
from backend.queue.lifecycle import Queue
from backend.queue.sql.blocks import CLOCK, one_of
from backend.queue.sql.claiming import finite, suspects
from backend.queue.sql.ending import stalled
from backend.queue.sql.lanes import (
    ONE,
    in_lane,
    lane_shape,
    not_paused,
    served_lanes,
    walk_lanes,
)

STALLED: Final = 0
SUSPECT: Final = 1
HELD: Final = 2
WAITING: Final = 3

Found = tuple[int, str, float | None]
"""What there is, the name of the queue, and of what waits in how many seconds it is due."""


@cache
def look(
    reaped: tuple[Queue, ...], served: tuple[Queue, ...], *, waiting: bool
) -> CompoundSelect[*Found]:
    """``STALLED`` for each queue in which a reap would find a row, ``SUSPECT`` where one is ready.

    And ``HELD`` for each in which anything is held. Where ``waiting`` is asked for, one row of that
    kind for each that is served: when a claim may find the next row, null where none is to come.

    Parameters as for those, but ``horizons0_*`` for the first of ``reaped``, ``horizons1_*`` for
    the next; ``partitions0`` and, of a queue that is not fair, ``lanes0_*`` for the first of
    ``served``, and so on.
    """
    parts = [*_stalled(reaped), *_suspects(served), *_held(reaped)]
    return union_all(*parts, *(_waiting(served) if waiting else ()))


@cache
def some_suspects(queues: tuple[Queue, ...]) -> CompoundSelect[*Found]:
    """The part of :func:`look` that is about suspects."""
    return union_all(*_suspects(queues))


def _stalled(queues: tuple[Queue, ...]) -> Iterator[Select[*Found]]:
    for n, queue in enumerate(queues):
        yield _found(STALLED, queue, stalled(queue, queue.rows.alias("q"), f"horizons{n}"))


def _suspects(queues: tuple[Queue, ...]) -> Iterator[Select[*Found]]:
    for n, queue in enumerate(queues):
        yield _found(SUSPECT, queue, suspects(queue, f"partitions{n}"))


def _held(queues: tuple[Queue, ...]) -> Iterator[Select[*Found]]:
    for queue in queues:
        rows = queue.rows.alias("q")
        yield _found(HELD, queue, select(rows.c.id).where(one_of(rows.c.status, queue.held)))


def _waiting(queues: tuple[Queue, ...]) -> Iterator[Select[*Found]]:
    """Of every lane that a claim of the worker's might take from, from its very front."""
    for n, queue in enumerate(queues):
        firsts = (_walked(queue, n) if queue.fair else _probed(queue, n)).subquery("firsts")
        wait = extract("epoch", func.min(firsts.c.available_at) - CLOCK)
        yield (
            select(*_named(WAITING, queue), cast(wait, Double()))
            .select_from(firsts)
            .where(not_paused(queue, firsts.c.partition if queue.partitions else None))
        )


def _walked(queue: Queue, n: int) -> Select[Any]:
    walk = walk_lanes(queue, f"walk{n}")
    lanes = served_lanes(queue, walk, f"partitions{n}")
    return lanes.add_columns(walk.c.available_at).where(finite(walk))


def _probed(queue: Queue, n: int) -> Select[Any]:
    """When the first row of each lane is, or was, ready."""
    lanes, q = unnest(f"lanes{n}", **lane_shape(queue)), queue.rows.alias("q")
    first = (
        select(q.c.available_at)
        .where(*in_lane(queue, q, lanes), finite(q))
        .order_by(q.c.available_at)
        .limit(ONE)
        .correlate(lanes)
        .lateral("first")
    )
    return select(*lanes.c, first.c.available_at).select_from(lanes.join(first, true()))


def _found(what: int, queue: Queue, rows: Select[*tuple[object, ...]]) -> Select[*Found]:
    """Not EXISTS: it drops the ORDER BY, and with that the partial index that serves it."""
    return select(*_named(what, queue), cast(null(), Double())).select_from(
        rows.limit(1).subquery()
    )


def _named(what: int, queue: Queue) -> tuple[ColumnElement[int], ColumnElement[str]]:
    return literal(what, Integer(), literal_execute=True), literal(queue.name, String())
