"""Settle the last batch and claim the next: a worker's whole traffic, in one statement."""

from functools import cache
from typing import Any

from sqlalchemy import func, null, select, union_all
from sqlalchemy.sql.selectable import CompoundSelect

from backend.queue.lifecycle import Queue
from backend.queue.sql.claiming import lease_rows, pick
from backend.queue.sql.ending import end


@cache
def turn(queue: Queue) -> CompoundSelect[*tuple[Any, ...]]:
    """:func:`settle` what nobody else has locked, and :func:`claim`; parameters as for both.

    The first row answered holds the settled ids and the statement's ``now()``; each other one is a
    claimed row. No row can be in both: what is settled is held, what is claimed is ready.
    """
    settled, history = end(queue, wait=False)
    claimed = lease_rows(queue, pick(queue)).cte("claimed")
    ids = func.array(select(settled.c.id).scalar_subquery())
    nothing = [null().label(column.name) for column in claimed.c]
    head = select(ids.label("settled"), func.now().label("at"), *nothing)
    rows = select(null(), null(), *claimed.c)
    return union_all(head, rows).add_cte(history)
