"""What came of a run, for people and as JSON."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, select

from backend.queue.lifecycle import Queue
from tests.chaos.recovery import DEFINITION, percentile
from tests.chaos.workload import ENDS, QUEUES, Booking


@dataclass(frozen=True, kw_only=True)
class Report:
    """Times in seconds; counts of rows and faults."""

    seed: int
    seconds: float
    faults: dict[str, int]
    spared: dict[str, int]
    """Not done: the fault could not have been told from a suspect row's own doing."""
    missed: dict[str, int]
    """Found nobody to happen to."""
    deaths_by_row: int
    """Workers that rows killed, besides the faults."""
    accepted: int
    finished: dict[str, int]
    duplicates: int
    losses: int
    innocents_convicted: int
    killers: int
    killers_quarantined: int
    recoveries: int
    recovery_p50: float | None
    recovery_p99: float | None
    recovery_longest: float | None
    rest: float
    """From the end of the faults until every row had ended."""
    violations: list[str]

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "recovery_definition": DEFINITION}

    def lines(self) -> list[str]:
        said = [
            f"chaos: seed {self.seed}, {self.seconds:.0f} s, {sum(self.faults.values())} faults",
            *(f"  {kind:<20}{number:>6}" for kind, number in sorted(self.faults.items())),
            f"  spared {_counts(self.spared)}; found no victim {_counts(self.missed)}",
            f"  workers killed by rows {self.deaths_by_row}",
            f"rows: accepted {self.accepted}, finished {_counts(self.finished)}",
            f"duplicates {self.duplicates}, losses {self.losses}",
            f"innocents convicted {self.innocents_convicted}",
            f"killers quarantined {self.killers_quarantined} of {self.killers}",
            f"recovery of {self.recoveries} losses: p50 {_seconds(self.recovery_p50)}",
            f"  p99 {_seconds(self.recovery_p99)}, longest {_seconds(self.recovery_longest)}",
            f"  {DEFINITION}",
            f"at rest {self.rest:.1f} s after the last fault was mended",
        ]
        said += [f"VIOLATION: {violation}" for violation in self.violations]
        return [*said, "FAILED" if self.violations else "no violation"]


def tally(
    engine: Engine, accepted: Mapping[Queue, Collection[int]], took: list[float]
) -> dict[str, Any]:
    """What the database and the recoveries say: fields of a :class:`Report`."""
    finished: Counter[str] = Counter()
    losses = innocents = killers = quarantined = 0
    with engine.connect() as connection:
        for queue in QUEUES:
            rows = connection.execute(
                select(queue.rows.c.id, queue.rows.c.kind, queue.rows.c.status,
                       queue.rows.c.failure)
            ).all()  # fmt: skip
            losses += len(set(accepted[queue]) - {row.id for row in rows})
            finished.update(row.failure or "done" for row in rows if row.status in queue.ended)
            killers += sum(ENDS[row.kind] == "poison" for row in rows)
            poison = [row for row in rows if row.failure == "poison"]
            quarantined += sum(ENDS[row.kind] == "poison" for row in poison)
            innocents += sum(ENDS[row.kind] != "poison" for row in poison)
        times = list(connection.scalars(select(Booking.times)))
    return {
        "accepted": sum(len(ids) for ids in accepted.values()),
        "finished": dict(finished),
        "duplicates": sum(n - 1 for n in times),
        "losses": losses,
        "innocents_convicted": innocents,
        "killers": killers,
        "killers_quarantined": quarantined,
        "recoveries": len(took),
        "recovery_p50": percentile(took, 0.5),
        "recovery_p99": percentile(took, 0.99),
        "recovery_longest": max(took, default=None),
    }


def _counts(counted: Mapping[str, int]) -> str:
    total = sum(counted.values())
    parts = ", ".join(f"{what} {number}" for what, number in sorted(counted.items()))
    return f"{total} ({parts})" if parts else "0"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
