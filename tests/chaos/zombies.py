"""Stale writes by the hundred thousand: every kind, with every kind of lost lease. None may land.

The leases are real; ``stale`` says how they were lost and what is written with them. Whether a
write landed is asked twice: of its own answer, and of the rows, their history and their effects,
which must be the very same tuples (``xmin`` and ``ctid`` included) as before.

Batches (heartbeats, settlements) carry up to two thousand stale leases in one statement; what a
worker writes row by row (commit, progress, a settlement with its effects) is a statement a write
here too, and a smaller share of all. The report says how many there were of each.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Final

from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from backend.db import Sessions, make_engine, make_sessions
from tests.chaos.stale import LOSSES, THREADS, WRITES, Write, claim, daemon_writes, make_stale
from tests.chaos.workload import LEDGER, pipelines
from workers.daemon import Assignment, Daemon, Policy

ROWS: Final = 400  # for each way to lose a lease
SHARES: Final[Mapping[str, float]] = {
    "commit": 0.04,
    "progress": 0.04,
    "settle with effects": 0.02,
    "worker's heartbeat": 0.05,
    "worker's settlement": 0.05,
    "worker's whole work": 0.002,
}
"""Of all writes; what is left is shared by the other kinds, which are batches."""

TABLES: Final = (LEDGER.table, "chaos_bookings", "attempts")
TUPLES: Final = """
SELECT md5(string_agg(concat_ws(' ', t.ctid, t.xmin, t), ',' ORDER BY t.tableoid, t.ctid))
FROM {table} t
"""


@dataclass(slots=True)
class Report:
    """What was tried and what came of it."""

    tried: Counter[str] = field(default_factory=Counter)
    """Stale writes by kind."""
    lost: Counter[str] = field(default_factory=Counter)
    """The same writes, by the way in which their leases were lost."""
    landed: Counter[str] = field(default_factory=Counter)
    """By kind, as the writes themselves answered."""
    changed: list[str] = field(default_factory=list)
    """Tables that are not what they were before, with the kind of write that changed them."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.landed and not self.changed

    def lines(self) -> list[str]:
        head = f"{self.tried.total():,} stale writes in {self.seconds:.0f} s"
        said = [f"{head}: {self.landed.total():,} landed, {len(self.changed)} tables changed"]
        said += [f"  {kind:<34} {count:>9,}" for kind, count in sorted(self.tried.items())]
        said += [f"  lease {how:<28} {count:>9,}" for how, count in sorted(self.lost.items())]
        said += [f"  LANDED: {kind}, {count:,} times" for kind, count in self.landed.items()]
        return said + [f"  CHANGED: {what}" for what in self.changed]


def run(url: str, n: int, seed: int) -> Report:
    """Try ``n`` stale writes, in an order that ``seed`` decides.

    Args:
        url: a database of its own with the synthetic workload's tables, which are emptied; driver
            named.

    Raises:
        AssertionError: a kind of write does nothing with a living lease either, so that its
            refusal with a stale one would mean nothing.
    """
    # The worker's threads, and the transaction that is open around them.
    engine = make_engine(url, pool_size=THREADS + 1, application_name="zombies")
    assigned = [Assignment(pipeline) for pipeline in pipelines()]
    writes = {**WRITES, **daemon_writes(Daemon(engine, engine, assigned, Policy(), name="zombie"))}
    try:
        with capture_logs():  # a worker says each lost lease
            for kind, write in writes.items():
                empty(engine)
                prove_that_it_lands(make_sessions(engine), kind, write)
            empty(engine)
            return haunt(engine, writes, n, random.Random(seed))
    finally:
        engine.dispose()


def prove_that_it_lands(sessions: Sessions, kind: str, write: Write) -> None:
    (lease,) = claim(sessions, 1)
    row = text(f"SELECT t::text FROM {LEDGER.table} t WHERE id = {lease.id}")
    with sessions.begin() as session:
        before = session.scalar(row)
    with sessions.begin() as session:
        write(session, [lease])
    with sessions.begin() as session:
        assert session.scalar(row) != before, f"{kind} does nothing with a living lease"


def haunt(engine: Engine, writes: Mapping[str, Write], n: int, chance: random.Random) -> Report:
    sessions, report = make_sessions(engine), Report()
    stale = [(lease, how) for how in LOSSES for lease in make_stale(sessions, how, ROWS)]
    chance.shuffle(stale)
    supply, began, before = cycle(stale), time.monotonic(), tuples(engine)
    for kind, count in shares(n, list(writes)).items():
        for size in sizes(count, len(stale)):
            batch = list(islice(supply, size))
            with sessions.begin() as session:
                report.landed[kind] += writes[kind](session, [lease for lease, _ in batch])
            report.tried[kind] += size
            report.lost.update(how for _, how in batch)
        after = tuples(engine)
        report.changed += [f"{t} by {kind}" for t in TABLES if after[t] != before[t]]
        before = after
    report.landed = +report.landed
    report.seconds = time.monotonic() - began
    return report


def empty(engine: Engine) -> None:
    """What a proof left ready or held is not to be claimed or worked on any more."""
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(TABLES)}"))


def shares(n: int, kinds: Sequence[str]) -> dict[str, int]:
    """How many of ``n`` writes are of each kind."""
    counts = {kind: int(n * SHARES[kind]) for kind in kinds if kind in SHARES}
    batched = [kind for kind in kinds if kind not in SHARES]
    each, more = divmod(n - sum(counts.values()), len(batched))
    return counts | {kind: each + (i < more) for i, kind in enumerate(batched)}


def sizes(count: int, most: int) -> Iterator[int]:
    """Batches of at most ``most``: no row stands twice in one, as in a worker."""
    yield from [most] * (count // most)
    if count % most:
        yield count % most


def tuples(engine: Engine) -> dict[str, str]:
    """A digest of each table's tuples: which they are, not only what they say."""
    with engine.connect() as connection:
        return {t: str(connection.scalar(text(TUPLES.format(table=t)))) for t in TABLES}
