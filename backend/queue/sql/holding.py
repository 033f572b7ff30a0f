"""While a row is held: heartbeat, step commit, progress; each carries the fence."""

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    SmallInteger,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    null,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import Select

from backend.db import unnest
from backend.queue.lifecycle import Queue
from backend.queue.sql.blocks import CLOCK, Columns, array_of, assigned


@cache
def heartbeat(queue: Queue) -> ReturningUpdate[Any]:
    """Extend the leases in ``leases_id``, ``leases_token`` by ``ttl``; never waits for a lock."""
    rows, leases = queue.rows, unnest("leases", id=BigInteger(), token=Uuid())
    q = rows.alias("q")
    mine = (
        select(q.c.id)
        .join(leases, and_(q.c.id == leases.c.id, q.c.lease_token == leases.c.token))
        .with_for_update(key_share=True, skip_locked=True, of=q)
        .cte("mine")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(rows)
        .where(rows.c.id == array_of(mine))
        .values(heartbeat_at=CLOCK, lease_expires_at=CLOCK + bindparam("ttl", type_=Interval))
        .returning(rows.c.id)
    )


@cache
def still_mine(queue: Queue) -> Select[Any]:
    """Which of the leases still carry their token: the question a skipped heartbeat asks."""
    leases = unnest("leases", id=BigInteger(), token=Uuid())
    rows = queue.rows
    return select(rows.c.id).join(
        leases, and_(rows.c.id == leases.c.id, rows.c.lease_token == leases.c.token)
    )


def fence(rows: Table) -> list[ColumnElement[bool]]:
    """The row, my token, and the step I continue from."""
    return [
        rows.c.id == bindparam("row_id", type_=BigInteger),
        rows.c.lease_token == bindparam("token", type_=Uuid),
        rows.c.step.is_not_distinct_from(bindparam("from_step", type_=Text)),
    ]


@cache
def commit_step(queue: Queue, columns: Columns = ()) -> ReturningUpdate[Any]:
    """Record a finished step, perhaps with its domain's own ``columns``.

    ``attempts`` counts from here on: this claim is the first.
    """
    rows = queue.rows
    return (
        update(rows)
        .where(*fence(rows))
        .values(
            status=bindparam("next_status", type_=Text),
            step=bindparam("finished_step", type_=Text),
            attempts=1,
            stalls=0,
            error=null(),
            progressed_at=CLOCK,
            updated_at=CLOCK,
            **assigned(columns),
        )
        .returning(rows.c.id)
    )


@cache
def assign(queue: Queue, columns: Columns) -> Update:
    """Set a domain's own ``columns`` behind a fence that could not take them along."""
    rows = queue.rows
    mine = rows.c.id == bindparam("row_id", type_=BigInteger)
    return update(rows).where(mine).values(assigned(columns))


@cache
def progress(queue: Queue) -> ReturningUpdate[Any]:
    """Say that the row moves on, and under which status; no step is finished."""
    rows = queue.rows
    return (
        update(rows)
        .where(*fence(rows))
        .values(status=bindparam("next_status", type_=Text), progressed_at=CLOCK, updated_at=CLOCK)
        .returning(rows.c.id)
    )


def report(queue: Queue) -> ReturningUpdate[Any]:
    """Say how far the row's step is; of a table that has columns for it."""
    rows = queue.rows
    return (
        update(rows)
        .where(*fence(rows))
        .values(
            progress=bindparam("percent", type_=SmallInteger),
            progress_message=bindparam("message", type_=Text),
            progressed_at=CLOCK,
            updated_at=CLOCK,
        )
        .returning(rows.c.id)
    )
