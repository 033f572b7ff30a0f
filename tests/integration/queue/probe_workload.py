"""A workload of three small tables, declared here alone: what a new workload needs.

``probe`` carries two queues (one with two stages and a leaves-word); ``errand`` is partitioned and
fair, says how far it is and knows a cancelled word; ``parcel`` has one stage that runs in a child
process.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, PrimaryKeyConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.db import Base
from backend.queue.claimable import Claimable, Fair, Partitioned, Progressing
from backend.queue.leases import Lease
from backend.queue.lifecycle import Meaning, Queue, Stage
from backend.queue.retry import Backoff

SOON: Final = Backoff(base=timedelta(milliseconds=20), cap=timedelta(milliseconds=100))

PROBE: Final = Queue(
    name="probe",
    table="probe",
    ready="waiting",
    stages=(Stage("first", "working", leaves="halfway"), Stage("second", "finishing")),
    done="finished",
    failed="broken",
    entering=("drafted",),
    resting=("shelved",),
    backoff=SOON,
    meaning={"drafted": Meaning("Somebody still writes it.")},
)
PUBLISH: Final = Queue(
    name="probe_publish",
    table="probe",
    ready="approved",
    stages=(Stage("publish", "publishing"),),
    done="published",
    failed="broken",
    uncancellable=("publishing",),
    backoff=SOON,
)
ERRAND: Final = Queue(
    name="errand",
    table="errand",
    ready="open",
    stages=(Stage("run", "running"),),
    done="closed",
    failed="failed",
    cancelled="withdrawn",
    partitions=("alpha", "beta"),
    fair=True,
    backoff=SOON,
)
PARCEL: Final = Queue(
    name="parcel",
    table="parcel",
    ready="packed",
    stages=(Stage("inspect", "inspecting"),),
    done="delivered",
    failed="returned",
    backoff=SOON,
)


class Probe(Claimable, Base):
    __tablename__ = "probe"
    __queues__ = (PROBE, PUBLISH)
    __fillfactor__ = 85

    payload: Mapped[str] = mapped_column(server_default="")


class Errand(Partitioned, Fair, Progressing, Claimable, Base):
    __tablename__ = "errand"
    __queues__ = (ERRAND,)


class Parcel(Claimable, Base):
    __tablename__ = "parcel"
    __queues__ = (PARCEL,)

    payload: Mapped[str] = mapped_column(server_default="")


class Effect(Base):
    """A ledger of domain writes: ``times`` above one is an effect that was applied twice."""

    __tablename__ = "probe_effects"
    __table_args__ = (PrimaryKeyConstraint("queue", "row_id", "step"),)

    queue: Mapped[str]
    row_id: Mapped[int] = mapped_column(BigInteger)
    step: Mapped[str]
    times: Mapped[int]


def save(session: Session, lease: Lease, result: Any) -> None:
    """Count the effect of the stage that ``lease`` finishes."""
    stage = lease.next_stage
    assert stage is not None
    counted = insert(Effect).values(
        queue=lease.queue.name, row_id=lease.id, step=stage.name, times=1
    )
    session.execute(
        counted.on_conflict_do_update(
            index_elements=["queue", "row_id", "step"], set_={"times": Effect.times + 1}
        )
    )


def effects(session: Session) -> dict[tuple[int, str], int]:
    """How often each (row, stage) was applied."""
    found = session.execute(select(Effect.row_id, Effect.step, Effect.times))
    return {(row_id, step): times for row_id, step, times in found}
