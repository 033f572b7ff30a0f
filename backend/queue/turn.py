"""A worker's turn: the last batch is settled and the next one claimed in one round trip.

This is the engine's hot path, and all of its tuning is here:

- One statement (:func:`backend.queue.sql.turn`), sent in autocommit: no BEGIN, no COMMIT, and no
  moment between two statements in which a frozen worker could keep rows locked.
- It is prepared once a connection. Its plan is the generic one and must go by the indexes: made
  while the table was small, it would otherwise read a table whole that has a million rows by now.
- By the driver alone: what SQLAlchemy makes of an answer would cost a tenth of a worker's time.
- Whole columns travel as one array literal each, which the server parses faster than a list of
  constants, and Python builds faster than the driver.

A pooler may give each transaction another connection, where nothing is prepared. That is noticed,
and from then on the statement is sent as it is. Whatever else goes wrong: the connection is given
up and the error raised; the turn may have been taken even so, if only its answer was lost.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import psycopg2
from sqlalchemy import Engine

from backend.autocommit import NOT_PREPARED, Link, Statement, leave_a_standby, wrapped
from backend.queue import sql
from backend.queue.claiming import Request, leased
from backend.queue.compiled import compiled, literals
from backend.queue.lanes import Marks, Seen, circle_params, lanes_seen, open_params
from backend.queue.lease import Lane, Lease
from backend.queue.lifecycle import Queue
from backend.queue.settlements import Settlement, columns

KIND: Final = "turn"
NAME: Final = f"lockkeeper_{KIND}"
"""Stands in each message that is a turn."""

PLANNING: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


@dataclass(frozen=True, slots=True)
class Turned:
    """What a turn did. ``settled`` are ids; ``at`` is its ``now()`` by the database's clock.

    ``due`` is in how many seconds the next row is, those left out that were settled; known only
    where the queue is not fair and nothing was claimed, None where there is none.
    """

    settled: frozenset[int]
    claimed: list[Lease]
    at: datetime
    due: float | None


class Turns:
    """The turns of one worker at one queue, on a connection of their own; for one thread.

    Raises (all methods):
        sqlalchemy.exc.SQLAlchemyError: nothing is known of what became of it.
    """

    def __init__(self, engine: Engine, queue: Queue, *, limit: timedelta) -> None:
        """``limit`` is of one statement: it gives up rather than wait for a lock any longer."""
        self._engine = engine
        self._queue = queue
        self._messages = Messages(max(1, int(limit.total_seconds() * 1000)))
        self._link: Link | None = None
        self._plain = False

    def take(
        self,
        settlements: Sequence[Settlement],
        request: Request,
        *,
        sending: Callable[[], None] = lambda: None,
    ) -> Turned:
        """Settle what nobody else has locked, and claim; ``sending()`` just before it is sent."""
        asked = literals(columns(settlements) | request.parameters())
        sending()
        (settled, at, due, *_), *claimed = self._send(turning(self._queue), asked)
        leases = leased(self._queue, request.token, (row[3:] for row in claimed))
        request.marks.advance(leases)
        wait = None if due is None else max(0.0, float(due))
        return Turned(frozenset(settled), leases, at, wait)

    def lanes(self, after: Lane | None, partitions: Sequence[str] | None) -> Seen:
        """As :func:`backend.queue.leases.next_lanes`."""
        asked = literals(circle_params(self._queue, partitions, after))
        return lanes_seen(self._queue, self._send(circling(self._queue), asked))

    def open_lanes(
        self, lanes: Sequence[Lane], marks: Marks, partitions: Sequence[str] | None
    ) -> Seen:
        """As :func:`backend.queue.leases.open_lanes`."""
        asked = literals(open_params(self._queue, lanes, marks, partitions))
        return lanes_seen(self._queue, self._send(opening(self._queue), asked), whole=False)

    def close(self) -> None:
        """Give up the connection; the next turn makes another one."""
        link, self._link = self._link, None
        if link is not None:
            link.give_up()

    def _send(self, what: Statement, asked: dict[str, Any]) -> Sequence[Any]:
        try:
            return self._prepared(what, asked)
        except psycopg2.Error as error:
            self.close()
            leave_a_standby(self._engine, error)
            raise wrapped(error, what.text) from error
        except BaseException:
            self.close()
            raise

    def _prepared(self, what: Statement, asked: dict[str, Any]) -> Sequence[Any]:
        if not self._plain:
            try:
                return self._rows(self._messages.execution(what), asked)
            except psycopg2.Error as error:
                if error.pgcode not in NOT_PREPARED:
                    raise
                self._plain = True  # nothing was done
                self.close()
        return self._rows(self._messages.unprepared(what), asked)

    def _rows(self, message: str, asked: dict[str, Any]) -> list[Any]:
        if self._link is None:
            self._link = Link.out_of(self._engine)
            if not self._plain:
                with self._link.driver.cursor() as cursor:
                    cursor.execute(self.preparation)  # without values all % are left alone
        return self._link.ask(message, asked)[0]

    @property
    def preparation(self) -> str:
        """What makes a new connection ready."""
        queue = self._queue
        needed = [turning(queue), *([circling(queue), opening(queue)] if queue.fair else [])]
        return self._messages.preparation(needed)


class Messages:
    """A message is a transaction: settings that are local to it, and a statement."""

    def __init__(self, milliseconds: int) -> None:
        """``milliseconds`` limit each statement."""
        settings = {**PLANNING, "statement_timeout": str(milliseconds)}
        each = ", ".join(
            f"set_config('{name}', '{value}', true)" for name, value in settings.items()
        )
        self._settings = Statement(f"SELECT {each}", kind="settings")
        self._limit = f"SET LOCAL statement_timeout = {milliseconds};"

    def preparation(self, statements: Iterable[Statement]) -> str:
        """To prepare a statement takes a lock on its tables, too."""
        prepared = (self._settings, *statements)
        return f"{self._limit} {''.join(one.preparation for one in prepared)}"

    def execution(self, statement: Statement) -> str:
        return f"{self._settings.execution}; {statement.execution}"

    def unprepared(self, statement: Statement) -> str:
        """Where nothing can be prepared: planned anew each time."""
        return f"/* {statement.name} */ {self._limit} {statement.text}"


@cache
def turning(queue: Queue) -> Statement:
    return compiled(sql.turn(queue), kind=KIND)


@cache
def circling(queue: Queue) -> Statement:
    return compiled(sql.circle(queue), kind="circle")


@cache
def opening(queue: Queue) -> Statement:
    return compiled(sql.open_lanes(queue), kind="open_lanes")
