"""One read for all queues of a worker: in which of them is there something to do?

Idle workers send these for ever: more queues must not mean more statements.
"""

from collections.abc import Iterable
from functools import cache

from sqlalchemy import CompoundSelect, String, literal, select, union_all
from sqlalchemy.sql.selectable import Select

from backend.queue.lifecycle import Queue
from backend.queue.sql.claiming import suspects
from backend.queue.sql.ending import stalled


@cache
def some_stalled(queues: tuple[Queue, ...]) -> CompoundSelect[*tuple[str]]:
    """Names of those in which a reap would find a row.

    Parameters as for that, but ``horizons0_*`` for the first queue, ``horizons1_*`` for the next.
    """
    return _found(
        (queue, stalled(queue, queue.rows.alias("q"), f"horizons{n}"))
        for n, queue in enumerate(queues)
    )


@cache
def some_suspects(queues: tuple[Queue, ...]) -> CompoundSelect[*tuple[str]]:
    """Names of those with a suspect that is ready, in ``partitions0`` of the first, and so on."""
    return _found((queue, suspects(queue, f"partitions{n}")) for n, queue in enumerate(queues))


def _found(
    rows: Iterable[tuple[Queue, Select[*tuple[object, ...]]]],
) -> CompoundSelect[*tuple[str]]:
    """Not EXISTS: it drops the ORDER BY, and with that the partial index that serves it."""
    return union_all(
        *(
            select(literal(queue.name, String())).select_from(found.limit(1).subquery())
            for queue, found in rows
        )
    )
