"""Settle the last batch and claim the next: a worker's whole traffic, in one statement."""

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import CTE, CompoundSelect

from backend.queue.lifecycle import Queue
from backend.queue.sql.claiming import lease_rows, pick, soonest
from backend.queue.sql.ending import end


@cache
def turn(queue: Queue) -> CompoundSelect[*tuple[Any, ...]]:
    """:func:`settle` what nobody else has locked, and :func:`claim`; parameters as for both.

    The first row answered holds the settled ids, the statement's ``now()`` and, where nothing was
    claimed of a queue that is not fair, the seconds until a row of the lanes is :func:`next_due`;
    each other one is a claimed row. No row can be in both: what is settled is held, what is claimed
    is ready. Nor does it see when a row that it settles is due again.
    """
    settled, history = end(queue, wait=False)
    claimed = lease_rows(queue, pick(queue)).cte("claimed")
    ids = func.array(select(settled.c.id).scalar_subquery())
    nothing = [null().label(column.name) for column in claimed.c]
    head = select(
        ids.label("settled"), func.now().label("at"), _due(queue, claimed).label("due"), *nothing
    )
    rows = select(null(), null(), null(), *claimed.c)
    return union_all(head, rows).add_cte(history)


def _due(queue: Queue, claimed: CTE) -> ColumnElement[Any]:
    if queue.fair:  # its claims know some of the lanes only
        return null()
    asked = and_(
        bindparam("limit", type_=BigInteger) > 0, ~exists(select(literal(1)).select_from(claimed))
    )
    return case((asked, soonest(queue, func.now()).scalar_subquery()))
