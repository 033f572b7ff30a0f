"""A synthetic workload that keeps books: every effect that is committed is counted.

``chaos_ledger`` has three stages in threads, the last one settled together with its rows;
``chaos_crates`` opens its rows in a child process and settles in batches; the stages of
``chaos_notes`` say what they store as statements, and ride with one another. What a row does to its
worker stands in its column ``kind``; how a row of that kind must end stands in :data:`ENDS`.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import BigInteger, Engine, PrimaryKeyConstraint, Table, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.autocommit import Statement
from backend.db import Base, table_of
from backend.queue.claimable import Claimable
from backend.queue.leases import Lease
from backend.queue.lifecycle import Queue, Stage
from backend.queue.pipeline import Done, Isolation, Outcome, Pipeline, Reject, Step
from backend.queue.retry import Backoff, Permanent, Transient
from backend.queue.writes import OURS, Write
from tests.chaos.inspection import inspect

SOON: Final = Backoff(base=timedelta(milliseconds=50), cap=timedelta(milliseconds=400))

LEDGER: Final = Queue(
    name="chaos_ledger",
    table="chaos_ledger",
    ready="posted",
    stages=(
        Stage("draft", "drafting", leaves="drafted"),
        Stage("check", "checking"),
        Stage("book", "booking"),
    ),
    done="booked",
    failed="void",
    backoff=SOON,
)
CRATES: Final = Queue(
    name="chaos_crates",
    table="chaos_crates",
    ready="landed",
    stages=(Stage("inspect", "inspecting"), Stage("deliver", "delivering")),
    done="delivered",
    failed="returned",
    backoff=SOON,
)
NOTES: Final = Queue(
    name="chaos_notes",
    table="chaos_notes",
    ready="heard",
    stages=(Stage("jot", "jotting"), Stage("sift", "sifting"), Stage("file", "filing")),
    done="filed",
    failed="lost",
    backoff=SOON,
)
QUEUES: Final = (LEDGER, CRATES, NOTES)

ENDS: Final[Mapping[str, str | None]] = {
    "plain": None,
    "slow": None,
    "flaky": None,
    "refused": "policy",
    "sour": "permanent",
    "hopeless": "exhausted",
    "killer": "poison",
    "late-killer": "poison",
    "child-killer": "poison",
}
"""What ``failure`` says of a row of each kind once it has ended; None where it must be done."""

KINDS: Final[Mapping[Queue, tuple[str, ...]]] = {
    LEDGER: ("plain", "slow", "flaky", "refused", "sour", "hopeless", "killer", "late-killer"),
    CRATES: ("plain", "slow", "flaky", "sour", "killer", "child-killer"),
    NOTES: ("plain", "slow", "flaky", "refused", "sour", "killer", "late-killer"),
}

FLAKY_UNTIL: Final = 3
"""The attempt, counted from the last committed step, at which a flaky row succeeds."""


class Entry(Claimable, Base):
    __tablename__ = LEDGER.table
    __queues__ = (LEDGER,)

    kind: Mapped[str] = mapped_column(server_default="plain")
    reference: Mapped[str | None] = mapped_column(unique=True)


class Crate(Claimable, Base):
    __tablename__ = CRATES.table
    __queues__ = (CRATES,)

    kind: Mapped[str] = mapped_column(server_default="plain")
    reference: Mapped[str | None] = mapped_column(unique=True)


class Note(Claimable, Base):
    __tablename__ = NOTES.table
    __queues__ = (NOTES,)

    kind: Mapped[str] = mapped_column(server_default="plain")
    reference: Mapped[str | None] = mapped_column(unique=True)


class Booking(Base):
    """The ledger: ``times`` above one is an effect that was applied twice."""

    __tablename__ = "chaos_bookings"
    __table_args__ = (PrimaryKeyConstraint("queue", "row_id", "step"),)

    queue: Mapped[str]
    row_id: Mapped[int] = mapped_column(BigInteger)
    step: Mapped[str]
    times: Mapped[int]


class Snapshot(BaseModel):
    """What a step is told of its row; ``attempts`` counts from its last committed step."""

    id: int
    kind: str
    attempts: int


TABLES: Final = [table_of(model) for model in (Entry, Crate, Note, Booking)]


def create_tables(engine: Engine) -> None:
    """Beside the product's own, which are there already."""
    Base.metadata.create_all(engine, tables=TABLES)


def load(table: Table) -> Callable[[Session, int], Snapshot | None]:
    wanted = select(table.c.id, table.c.kind, table.c.attempts)

    def read(session: Session, row_id: int) -> Snapshot | None:
        row = session.execute(wanted.where(table.c.id == row_id)).first()
        return None if row is None else Snapshot.model_validate(row._asdict())

    return read


def save(session: Session, lease: Lease, _result: Any) -> None:
    """Count the effect of the stage that ``lease`` finishes, inside its fenced transaction."""
    stage = lease.next_stage
    assert stage is not None
    counted = insert(Booking).values(
        queue=lease.queue.name, row_id=lease.id, step=stage.name, times=1
    )
    session.execute(
        counted.on_conflict_do_update(
            index_elements=["queue", "row_id", "step"], set_={"times": Booking.times + 1}
        )
    )


def counted(stage: str) -> Callable[[Any], Write]:
    """The same as statements of a step, which name no other's parameters."""
    statement = Statement(f"""
INSERT INTO chaos_bookings (queue, row_id, step, times)
SELECT CAST(%(queue)s AS text), id, '{stage}', 1 FROM {NOTES.table} WHERE id = %(row_id)s AND {OURS}
ON CONFLICT (queue, row_id, step) DO UPDATE SET times = chaos_bookings.times + 1
RETURNING times
""")
    return lambda _result: Write((statement,), {"queue": NOTES.name})


def run(stage: str) -> Callable[[Snapshot, threading.Event], Outcome]:
    """The work of ``stage``: what the row's kind asks for, in a few milliseconds."""

    def work(row: Snapshot, moment: threading.Event) -> Outcome:
        match row.kind, stage:
            case ("killer", "draft" | "deliver" | "jot") | ("late-killer", "check" | "sift"):
                os.kill(os.getpid(), signal.SIGKILL)
            case "flaky", _ if row.attempts < FLAKY_UNTIL:
                raise Transient("not yet")
            case "hopeless", "check":
                raise Transient("never")
            case "sour", "draft" | "deliver" | "sift":
                raise Permanent("sour")
            case "refused", "check" | "sift":
                return Reject("not in this house", {})
        moment.wait(0.4 if row.kind == "slow" else 0.01)
        return Done({})

    return work


def same(row: Snapshot, _result: Any, _answered: Any) -> Snapshot:
    return row


def pipelines() -> list[Pipeline]:
    moment = threading.Event()
    ledger = tuple(Step(stage.name, run(stage.name), save=save) for stage in LEDGER.stages)
    inspecting = Step(
        "inspect", inspect, save=save, timeout=timedelta(seconds=20),
        isolation=Isolation.PROCESS, result=dict[str, str],
    )  # fmt: skip
    # Without a save: settled in batches, together with the next claim.
    crates = (inspecting, Step("deliver", run("deliver")))
    notes = tuple(
        Step(one.name, run(one.name), write=counted(one.name), carry=same, rides=one.name != "file")
        for one in NOTES.stages
    )
    return [
        Pipeline(queue=NOTES, load=load(table_of(Note)), steps=notes, tools=moment),
        Pipeline(queue=LEDGER, load=load(table_of(Entry)), steps=ledger, tools=moment),
        Pipeline(queue=CRATES, load=load(table_of(Crate)), steps=crates, tools=moment),
    ]
