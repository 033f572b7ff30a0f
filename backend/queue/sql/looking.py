"""One read for all queues of a worker: in which of them is there something to do?

Idle workers send this for ever: more queues must not mean more statements.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

from sqlalchemy import CompoundSelect, Integer, String, literal, select, union_all
from sqlalchemy.sql.selectable import Select

from backend.queue.lifecycle import Queue
from backend.queue.sql.blocks import one_of
from backend.queue.sql.claiming import suspects
from backend.queue.sql.ending import stalled

STALLED: Final = 0
SUSPECT: Final = 1
HELD: Final = 2

Found = tuple[int, str]
"""What there is, and the name of the queue."""


@cache
def look(reaped: tuple[Queue, ...], served: tuple[Queue, ...]) -> CompoundSelect[*Found]:
    """``STALLED`` for each queue in which a reap would find a row, ``SUSPECT`` where one is ready.

    And ``HELD`` for each in which anything is held.

    Parameters as for those, but ``horizons0_*`` for the first of ``reaped``, ``horizons1_*`` for
    the next; ``partitions0`` for the first of ``served``, and so on.
    """
    return union_all(*_stalled(reaped), *_suspects(served), *_held(reaped))


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


def _found(what: int, queue: Queue, rows: Select[*tuple[object, ...]]) -> Select[*Found]:
    """Not EXISTS: it drops the ORDER BY, and with that the partial index that serves it."""
    kind, name = literal(what, Integer(), literal_execute=True), literal(queue.name, String())
    return select(kind, name).select_from(rows.limit(1).subquery())
