"""The benchmark's own table: a queue with everything a claim can have, and work that does nothing.

It is partitioned and fair and ages, as the product's queues may; the same table carries the bare
loop that the worker is measured against.
"""

from typing import Final

from sqlalchemy import NullPool, create_engine

from backend.db import Base, table_of
from backend.queue.claimable import Claimable, Fair, Partitioned
from backend.queue.lifecycle import Queue, Stage
from backend.queue.pipeline import Done, Pipeline, Step

BENCH: Final = Queue(
    name="bench",
    table="bench",
    ready="open",
    stages=(Stage("run", "running"),),
    done="closed",
    failed="failed",
    partitions=("alpha",),
    fair=True,
)


class Errand(Partitioned, Fair, Claimable, Base):
    __tablename__ = BENCH.table
    __queues__ = (BENCH,)


def create_table(url: str) -> None:
    """Beside the product's own, which are there already."""
    engine = create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(engine, tables=[table_of(Errand)])


def nothing(_lease: object, _tools: object) -> Done:
    return Done()


def pipeline(batch: int) -> Pipeline:
    """A pipeline whose one step, in a thread, does nothing and stores nothing."""
    return Pipeline(queue=BENCH, steps=(Step("run", nothing),), batch=batch)
