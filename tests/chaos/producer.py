"""Rows that arrive all the time, and the record of those the database has acknowledged."""

import random
import threading
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from backend.db import make_engine
from backend.queue.lifecycle import Queue
from backend.queue.wake import Notifier
from tests.chaos.workload import CRATES, KINDS, LEDGER, NOTES, QUEUES

PAUSE: Final = 0.25  # seconds between two batches
HARMLESS: Final = {
    LEDGER: {"plain": 20, "slow": 2, "flaky": 3, "refused": 2, "sour": 1, "hopeless": 1},
    CRATES: {"plain": 6, "slow": 1, "flaky": 1, "sour": 1},
    NOTES: {"plain": 8, "slow": 1, "flaky": 1, "refused": 1, "sour": 1},
}
"""How often each kind comes; killers have times of their own."""

SHARES: Final = {LEDGER: 6, CRATES: 2, NOTES: 2}
KILLER_EVERY: Final = 12.0  # seconds


class Producer(threading.Thread):
    """Inserts rows until :meth:`finish`; ``accepted`` are the ids whose commit was acknowledged.

    An insert whose answer was lost is repeated with the same references, so that in the end every
    row that is there was accepted.
    """

    def __init__(self, url: str, seed: int, *, rows_per_second: float) -> None:
        super().__init__(name="chaos-producer", daemon=True)
        self.accepted: dict[Queue, set[int]] = {queue: set() for queue in QUEUES}
        self.error: Exception | None = None
        self._engine = make_engine(url, pool_size=2, application_name="chaos-producer")
        self._notifier = Notifier(self._engine)
        self._chance = random.Random(f"rows of {seed}")
        self._batch = rows_per_second * PAUSE
        self._owed = 0.0
        self._until_killer = KILLER_EVERY / 4
        self._made = 0
        self._killers = True
        self._done = threading.Event()

    def no_more_killers(self) -> None:
        """What kills its workers takes a while to be found out: none shortly before the end."""
        self._killers = False

    def finish(self) -> None:
        """Stop, once the batch under way is acknowledged.

        Raises:
            Exception: what the thread ended with, where it could not go on.
        """
        self._done.set()
        self.join()
        self._notifier.close()
        self._engine.dispose()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        try:
            while not self._done.wait(PAUSE):
                for queue, kinds in self._batches().items():
                    self._accept(queue, kinds)
        except Exception as error:  # noqa: BLE001 - raised again by finish()
            self.error = error

    def _batches(self) -> dict[Queue, list[str]]:
        batches: dict[Queue, list[str]] = {queue: [] for queue in QUEUES}
        self._owed += self._batch
        while self._owed >= 1:
            self._owed -= 1
            (queue,) = self._chance.choices(list(SHARES), list(SHARES.values()))
            weights = HARMLESS[queue]
            batches[queue] += self._chance.choices(list(weights), list(weights.values()))
        self._until_killer -= PAUSE
        if self._killers and self._until_killer <= 0:
            self._until_killer += KILLER_EVERY
            queue = self._chance.choice(QUEUES)
            killers = [kind for kind in KINDS[queue] if "killer" in kind]
            batches[queue].append(self._chance.choice(killers))
        return {queue: kinds for queue, kinds in batches.items() if kinds}

    def _accept(self, queue: Queue, kinds: Iterable[str]) -> None:
        rows = []
        for kind in kinds:
            self._made += 1
            rows.append({
                "status": queue.ready, "kind": kind, "reference": f"r{self._made}",
                "priority": self._chance.randint(1, 10), "max_attempts": queue.max_attempts,
            })  # fmt: skip
        while True:
            try:
                self.accepted[queue] |= add(self._engine, queue, rows)
            except SQLAlchemyError:
                threading.Event().wait(PAUSE)
            else:
                self._notifier.ready(queue.name)
                return


def add(engine: Engine, queue: Queue, rows: list[dict[str, object]]) -> set[int]:
    """Insert ``rows``, which bear references, however often it is tried; answers their ids."""
    made = insert(queue.rows).on_conflict_do_nothing(index_elements=["reference"])
    references = [row["reference"] for row in rows]
    with engine.begin() as connection:
        connection.execute(made, rows)
    with engine.connect() as connection:
        ids = select(queue.rows.c.id).where(queue.rows.c.reference.in_(references))
        return set(connection.scalars(ids))
