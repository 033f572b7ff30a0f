"""A step's fence and its domain rows in one message: one round trip, one transaction.

The engine's own statement (commit a step, or settle) goes first, the step's follow; the server
takes a message of several statements for one transaction. Nobody is there to stop them where the
first found another's token, so they stop themselves: they write only where the row's version is the
one that their own transaction made (:data:`OURS`), and the last one answers a row where it did.

No answer, or a fault, is no verdict: the ordinary way (a transaction, the fence first) is gone
then, which repeats what a fault undid and tells a lost lease from a lost answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Engine, QueuePool
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement
from backend.queue import sql
from backend.queue.compiled import compiled, literals
from backend.queue.lease import Lease
from backend.queue.leases import advanced
from backend.queue.lifecycle import Queue
from backend.queue.settlements import Settlement, columns

OURS: Final = "xmin = pg_current_xact_id()::xid"
"""A condition in SQL: this transaction wrote the row last."""

HELD: Final = "lease_token = CAST(%(token)s AS uuid) AND step IS NOT DISTINCT FROM %(at_step)s"
"""A condition in SQL: the lease holds the row, at the step where the worker has it."""

OTHERS: Final = 2
"""Of the pool's connections, so many at least are left to all else: it may have as many over."""


@dataclass(frozen=True, slots=True)
class Write:
    """What a step stores: statements that write nothing unless their row is :data:`OURS`.

    The last one answers a row where it wrote. ``values`` are the parameters but for ``row_id``.
    ``columns`` of the queue's row are set by the fence itself: a row that a transaction writes
    twice has two new versions, with all their constraints and index entries. ``answer`` reads what
    ``Step.carry`` is given, of a row that is :data:`HELD`: behind a commit, or by itself where the
    write waits for the next step's.
    """

    statements: tuple[Statement, ...]
    values: Mapping[str, Any]
    columns: sql.Columns = ()
    answer: Statement | None = None

    def save(self, session: Session, lease: Lease) -> None:
        """In a transaction that began with the fence."""
        asked = {**self.values, "row_id": lease.id}
        if self.columns:
            assign = compiled(sql.assign(lease.queue, self.columns), kind="assign")
            session.connection().exec_driver_sql(assign.text, asked)
        for statement in self.statements:
            session.connection().exec_driver_sql(statement.text, asked)


def together(writes: Sequence[Write]) -> Write:
    """Those of several steps as one, in their order: what a later one sets of the row counts.

    Raises:
        RuntimeError: a statement's parameter has another value for a later step.
    """
    if len(writes) == 1:
        return writes[0]
    values: dict[str, Any] = {}
    for write in reversed(writes):
        asked = {name for statement in write.statements for name in statement.parameters}
        for name in asked & values.keys() & write.values.keys():
            if values[name] != write.values[name]:
                raise RuntimeError(f"two steps that are stored together differ in {name!r}")
        values = {**write.values, **values}
    return Write(
        tuple(statement for write in writes for statement in write.statements),
        values,
        tuple({name: how for write in writes for name, how in write.columns}.items()),
        writes[-1].answer,
    )


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
        asked = {**_fence(lease), "next_status": status}
        return bool(self.statements.rows(fence, asked))

    def report(self, lease: Lease, percent: int, message: str) -> bool:
        """Say how far the row's step is: in columns, where its table has them.

        False where the row is not the lease's any more.
        """
        if "progress" not in lease.queue.rows.c:
            return self.progress(lease, lease.status)
        fence = _report(lease.queue)
        said = {"percent": percent, "message": message or None}
        asked = {**_fence(lease), **said}
        return bool(self.statements.rows(fence, asked))

    def commit(self, lease: Lease, write: Write, since: Lease | None = None) -> Any:
        """Record the lease's next stage as finished, with its rows; see :func:`leases.commit`.

        Args:
            since: the lease as the row still has it, where stages before that one are recorded
                only now.

        Returns:
            The row that ``write``'s answer or its last statement gave; None where it wrote nothing.
        """
        fence = _commit(lease.queue, write.columns)
        after = advanced(lease)
        asked = {**_fence(since or lease), "next_status": after.status, "finished_step": after.step}
        last: tuple[Statement, ...] = ()
        if write.answer:
            last, asked = (write.answer,), {**asked, "at_step": after.step}
        return next(iter(self._send(fence, write, asked, *last)), None)

    def ask(self, lease: Lease, write: Write) -> Any:
        """What ``write`` answers, while it waits for the next step's; None for a lost lease.

        Args:
            lease: as the row still has it.
        """
        if write.answer is None:
            return None
        place = {"row_id": lease.id, "token": str(lease.token), "at_step": lease.step}
        return next(iter(self.statements.rows(write.answer, {**write.values, **place})), None)

    def settle(self, settlement: Settlement, write: Write) -> bool:
        """End the attempt, with its rows; see :func:`leases.settle_one`."""
        lease = settlement.lease
        fence = _settle(lease.queue, write.columns)
        ends = literals(columns([settlement]))
        asked = {"row_id": lease.id, "finished_step": lease.step, **ends}
        return bool(self._send(fence, write, asked))

    def _send(
        self, fence: Statement, write: Write, asked: Mapping[str, Any], *last: Statement
    ) -> list[Any]:
        if clash := asked.keys() & write.values.keys():
            raise RuntimeError(f"parameters of the fence's own names: {', '.join(sorted(clash))}")
        statements = (fence, *write.statements, *last)
        return self.statements.together(statements, {**write.values, **asked})


def _spare(engine: Engine) -> int:
    """How many connections may be kept at hand."""
    return max(0, engine.pool.size() - OTHERS) if isinstance(engine.pool, QueuePool) else 0


def _fence(lease: Lease) -> dict[str, Any]:
    return {"row_id": lease.id, "token": str(lease.token), "from_step": lease.step}


@cache
def _progress(queue: Queue) -> Statement:
    return compiled(sql.progress(queue), kind="progress")


@cache
def _report(queue: Queue) -> Statement:
    return compiled(sql.report(queue), kind="report")


@cache
def _commit(queue: Queue, columns: sql.Columns) -> Statement:
    return compiled(sql.commit_step(queue, columns), kind="commit")


@cache
def _settle(queue: Queue, columns: sql.Columns) -> Statement:
    return compiled(sql.settle_alone(queue, columns), kind="settle")
