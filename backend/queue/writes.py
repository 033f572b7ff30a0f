"""A step's fence and its domain rows in one message: one round trip, one transaction.

The engine's own statement (commit a step, or settle) goes first, the step's follow; the server
takes a message of several statements for one transaction. Nobody is there to stop them where the
first found another's token, so they stop themselves: they write only where the row's version is the
one that their own transaction made (:data:`OURS`), and the last one answers a row where it did.

No answer, or a fault, is no verdict: the ordinary way (a transaction, the fence first) is gone
then, which repeats what a fault undid and tells a lost lease from a lost answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Engine, QueuePool
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement
from backend.queue import sql
from backend.queue.compiled import Compiled, compiled, literals
from backend.queue.lease import Lease
from backend.queue.leases import advanced
from backend.queue.lifecycle import Queue
from backend.queue.settlements import Settlement, columns

OURS: Final = "xmin = pg_current_xact_id()::xid"
"""A condition in SQL: this transaction wrote the row last."""

OTHERS: Final = 2
"""Of the pool's connections, so many at least are left to all else: it may have as many over."""


@dataclass(frozen=True, slots=True)
class Write:
    """What a step stores: statements that write nothing unless their row is :data:`OURS`.

    The last one answers a row where it wrote. ``values`` are the parameters but for ``row_id``.
    ``columns`` of the queue's row are set by the fence itself: a row that a transaction writes
    twice has two new versions, with all their constraints and index entries.
    """

    statements: tuple[Statement, ...]
    values: Mapping[str, Any]
    columns: sql.Columns = ()

    def save(self, session: Session, lease: Lease) -> None:
        """In a transaction that began with the fence."""
        asked = {**self.values, "row_id": lease.id}
        if self.columns:
            assign = compiled(sql.assign(lease.queue, self.columns), kind="assign").statement
            session.connection().exec_driver_sql(assign.text, asked)
        for statement in self.statements:
            session.connection().exec_driver_sql(statement.text, asked)


class Writes:
    """Sends each write with its fence; for any number of threads.

    Raises (all methods):
        sqlalchemy.exc.SQLAlchemyError: nothing is known of what became of it.
    """

    def __init__(self, engine: Engine, *, ttl: timedelta) -> None:
        """``ttl`` is the lease time.

        Each statement waits for an eighth of it at most: with a quarter since the last heartbeat,
        which their locks keep from the row, the lease outlives a few of them.
        """
        self.statements = Autocommit(engine, ttl / 8, keep=_spare(engine))

    def progress(self, lease: Lease, status: str) -> bool:
        """Say that work goes on, under ``status``; see :func:`leases.progress`."""
        fence = _progress(lease.queue)
        asked = {**fence.constants, **_fence(lease), "next_status": status}
        return bool(self.statements.rows(fence.statement, asked))

    def commit(self, lease: Lease, write: Write) -> Any:
        """Record the lease's next stage as finished, with its rows; see :func:`leases.commit`.

        Returns:
            The row that the last statement of ``write`` answered; None where it wrote nothing.
        """
        fence = _commit(lease.queue, write.columns)
        after = advanced(lease)
        asked = {**_fence(lease), "next_status": after.status, "finished_step": after.step}
        return next(iter(self._send(fence, write, asked)), None)

    def settle(self, settlement: Settlement, write: Write) -> bool:
        """End the attempt, with its rows; see :func:`leases.settle_one`."""
        lease = settlement.lease
        fence = _settle(lease.queue, write.columns)
        asked = {"row_id": lease.id, **literals(columns([settlement]))}
        return bool(self._send(fence, write, asked))

    def _send(self, fence: Compiled, write: Write, asked: Mapping[str, Any]) -> list[Any]:
        fenced = {**fence.constants, **asked}
        if clash := fenced.keys() & write.values.keys():
            raise RuntimeError(f"parameters of the fence's own names: {', '.join(sorted(clash))}")
        together = (fence.statement, *write.statements)
        return self.statements.together(together, {**write.values, **fenced})


def _spare(engine: Engine) -> int:
    """How many connections may be kept at hand."""
    return max(0, engine.pool.size() - OTHERS) if isinstance(engine.pool, QueuePool) else 0


def _fence(lease: Lease) -> dict[str, Any]:
    return {"row_id": lease.id, "token": str(lease.token), "from_step": lease.step}


@cache
def _progress(queue: Queue) -> Compiled:
    return compiled(sql.progress(queue), kind="progress")


@cache
def _commit(queue: Queue, columns: sql.Columns) -> Compiled:
    return compiled(sql.commit_step(queue, columns), kind="commit")


@cache
def _settle(queue: Queue, columns: sql.Columns) -> Compiled:
    return compiled(sql.settle_alone(queue, columns), kind="settle")
