"""A turn that outlives trouble: a lost answer, a lost database, a row that cannot be stored."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lane, Lease, Marks, Request, Seen, Settlement
from backend.queue.lifecycle import Queue
from backend.queue.turn import Turns
from workers.database import Transactions
from workers.executor import Ended, unstored

log = structlog.get_logger(__name__)

GAVE_UP: Final = "57014"
"""PostgreSQL's code for a statement that its time limit has ended."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a turn. ``at`` is when the claim looked, None where that is not known.

    ``due`` is in how many seconds the next row is, where a queue that is not fair gave none.
    ``stored`` came to their end as history has it; ``locked`` are ids of rows to be settled later;
    ``lost`` counts leases that somebody else had taken. ``took`` is in seconds, of the one
    statement, be it that it was answered or that it gave up at its limit; 0 where it broke.
    ``repeated`` is a turn that was taken in steps, from the fallback's marks on.
    """

    claimed: list[Lease]
    at: datetime | None
    stored: list[Ended]
    locked: set[int] = field(default_factory=set)
    lost: int = 0
    took: float = 0.0
    due: float | None = None
    repeated: bool = False


class SteadyTurns:
    """Turns at ``queue``, in one statement each; where that fails, in steps, until it worked."""

    def __init__(self, queue: Queue, turns: Turns, transactions: Transactions) -> None:
        self.queue = queue
        self._turns = turns
        self._transactions = transactions

    def close(self) -> None:
        self._turns.close()

    def take(
        self,
        ended: list[Ended],
        request: Request,
        *,
        fallback: Marks,
        sending: Callable[[], None] = lambda: None,
    ) -> Result:
        """Settle ``ended`` and claim; from ``fallback`` on where it has to be repeated.

        ``sending()`` is called when there is nothing left to do but to wait for the server.

        Raises:
            Stopped: the worker's last grace is over.
            sqlalchemy.exc.DBAPIError: the claim failed by a fault that no repeating cures.
        """
        began = time.monotonic()
        try:
            return self._at_once(ended, request, sending)
        except SQLAlchemyError as error:
            log.warning("turn.failed", queue=self.queue.name, error=type(error).__name__)
            gave_up = getattr(getattr(error, "orig", None), "pgcode", None) == GAVE_UP
            took = time.monotonic() - began if gave_up else 0.0
            result = self._in_steps(ended, replace(request, marks=fallback))
            return replace(result, took=took, repeated=True)

    def lanes(self, after: Lane | None, partitions: Sequence[str] | None) -> Seen:
        """The next lanes of a fair queue: see :func:`backend.queue.leases.next_lanes`."""
        try:
            return self._turns.lanes(after, partitions)
        except SQLAlchemyError as error:
            log.warning("turn.failed", queue=self.queue.name, error=type(error).__name__)
            return self._transactions.run(
                lambda session: leases.next_lanes(
                    session, self.queue, after=after, partitions=partitions
                ),
                doing="look for lanes",
            )

    def open_lanes(
        self, lanes: Sequence[Lane], marks: Marks, partitions: Sequence[str] | None
    ) -> Seen:
        """Which of these have rows: see :func:`backend.queue.leases.open_lanes`."""
        try:
            return self._turns.open_lanes(lanes, marks, partitions)
        except SQLAlchemyError as error:
            log.warning("turn.failed", queue=self.queue.name, error=type(error).__name__)
            return self._transactions.run(
                lambda session: leases.open_lanes(session, self.queue, lanes, marks, partitions),
                doing="look into lanes",
            )

    def _at_once(self, ended: list[Ended], request: Request, sending: Callable[[], None]) -> Result:
        settlements = [one.settlement for one in ended]
        began = time.monotonic()
        turned = self._turns.take(settlements, request, sending=sending)
        took = time.monotonic() - began
        missing = [s.lease for s in settlements if s.lease.id not in turned.settled]
        if not missing:
            return Result(turned.claimed, turned.at, ended, took=took, due=turned.due)
        locked = self._transactions.run(
            lambda session: leases.still_held(session, self.queue, missing), doing="settle"
        )
        gone = {lease.id for lease in missing}
        stored = [one for one in ended if one.settlement.lease.id not in gone]
        return Result(
            turned.claimed, turned.at, stored, locked, len(gone - locked), took, turned.due
        )

    def _in_steps(self, ended: list[Ended], request: Request) -> Result:
        """A turn of which nothing is known: repeated in a transaction until one is committed."""
        settlements = [one.settlement for one in ended]
        try:
            claimed, at, locked, due = self._transactions.run(
                lambda session: self._step(session, settlements, request), doing="settle and claim"
            )
        except DBAPIError as error:
            if not settlements:
                raise
            log.warning("settle.refused", queue=self.queue.name, error=type(error.orig).__name__)
            return Result([], None, self._settle_singly(ended))
        # What is gone may have been settled by the first try: it is not known to be lost.
        stored = [one for one in ended if one.settlement.lease.id not in locked]
        return Result(claimed, at, stored, locked, due=due)

    def _step(
        self, session: Session, settlements: list[Settlement], request: Request
    ) -> tuple[list[Lease], datetime | None, set[int], float | None]:
        # Waiting for one that somebody has locked would keep all others waiting.
        _, locked = leases.settle_free(session, self.queue, settlements)
        at = session.scalar(select(func.now()))
        if not request.limit:
            return [], at, locked, None
        # The claim whose answer was lost may have committed: adopt before claiming.
        adopted = leases.adopt(session, self.queue, request.token)
        claimed = adopted or leases.take(session, request)
        asked = not claimed and not self.queue.fair
        due = leases.due_in(session, self.queue, request.lanes, after=at) if asked else None
        return claimed, at, locked, due

    def _settle_singly(self, ended: list[Ended]) -> list[Ended]:
        """One row's data spoilt the batch: find it, end it, settle its neighbours."""
        stored = []
        for one in ended:
            try:
                self._settle_one(one.settlement)
                stored.append(one)
            except DBAPIError as error:
                refused = unstored(one.settlement.lease, "settling", error)
                self._settle_one(refused)
                stored.append(replace(one, settlement=refused))
        return stored

    def _settle_one(self, settlement: Settlement) -> None:
        self._transactions.run(
            lambda session: leases.settle(session, self.queue, [settlement]), doing="settle"
        )
