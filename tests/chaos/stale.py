"""Ways to lose a lease, and everything that a worker who does not know may still try to write."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import control, leases, reaper
from backend.queue.entry import enqueue_many
from backend.queue.leases import Lease, Settlement
from backend.queue.retry import Died, LeaseLost, Permanent
from tests.chaos.workload import LEDGER, save
from workers.daemon import Daemon
from workers.executor import Ended

MOMENT: Final = timedelta(milliseconds=1)
LONG: Final = timedelta(hours=1)
THREADS: Final = 4  # at work at once in one worker

Losing = Callable[[Session, Sequence[Lease]], object]
Write = Callable[[Session, Sequence[Lease]], int]
"""One write for each lease, in the caller's transaction or its own; answers how many landed."""


def claim(sessions: Sessions, count: int) -> list[Lease]:
    """Leases of new rows; every other one has committed a step."""
    with sessions.begin() as session:
        enqueue_many(session, LEDGER, [{"kind": "plain"}] * count)
        held = leases.claim(session, LEDGER, worker="zombie", limit=count, ttl=LONG)
    assert len(held) == count, "there are other rows: the database must be the zombies' own"
    with sessions.begin() as session:
        return [leases.commit(session, one) if one.id % 2 else one for one in held]


def reap(session: Session, held: Sequence[Lease]) -> None:
    rows, ids = LEDGER.rows, [lease.id for lease in held]
    expired = func.clock_timestamp() - MOMENT
    session.execute(update(rows).where(rows.c.id.in_(ids)).values(lease_expires_at=expired))
    horizons = dict.fromkeys(LEDGER.held, LONG)
    reaped = reaper.reap(session, LEDGER, horizons=horizons, ttl=MOMENT)
    assert {row.id for row in reaped} == {lease.id for lease in held}


def settle(session: Session, held: Sequence[Lease]) -> None:
    assert leases.settle(session, LEDGER, [leases.done(lease) for lease in held]) == set()


def cancel(session: Session, held: Sequence[Lease]) -> None:
    ids = [lease.id for lease in held]
    assert control.cancel(session, LEDGER, ids, why="enough") == sorted(ids)


def release(session: Session, held: Sequence[Lease]) -> None:
    assert leases.release(session, LEDGER, held) == set()


def claim_again(session: Session, held: Sequence[Lease]) -> None:
    fresh = leases.claim(session, LEDGER, worker="fresh", limit=len(held), ttl=LONG)
    assert {lease.id for lease in fresh} == {lease.id for lease in held}


LOSSES: Final[Mapping[str, tuple[Losing, ...]]] = {
    "released and claimed again": (release, claim_again),
    "reaped and claimed again": (reap, claim_again),
    "cancelled": (cancel,),
    "settled": (settle,),
    # The last one: its rows stay ready, and the next claim would take them.
    "reaped": (reap,),
}


def make_stale(sessions: Sessions, how: str, count: int) -> list[Lease]:
    held = claim(sessions, count)
    for lose in LOSSES[how]:
        with sessions.begin() as session:
            lose(session, held)
    return held


def settles(end: Callable[[Lease], Settlement]) -> Write:
    def write(session: Session, held: Sequence[Lease]) -> int:
        return len(held) - len(leases.settle(session, LEDGER, [end(lease) for lease in held]))

    return write


def one_by_one(act: Callable[[Session, Lease], object]) -> Write:
    def write(session: Session, held: Sequence[Lease]) -> int:
        landed = 0
        for lease in held:
            try:
                act(session, lease)
            except LeaseLost:
                continue
            landed += 1
        return landed

    return write


def commit(session: Session, lease: Lease) -> None:
    leases.commit(session, lease)
    save(session, lease, None)


def settle_with_effects(session: Session, lease: Lease) -> None:
    leases.settle_one(session, leases.done(lease))
    save(session, lease, None)


def heartbeat(session: Session, held: Sequence[Lease]) -> int:
    return len(held) - len(leases.heartbeat(session, LEDGER, held, ttl=LONG))


def release_late(session: Session, held: Sequence[Lease]) -> int:
    return len(held) - len(leases.release(session, LEDGER, held))


WRITES: Final[Mapping[str, Write]] = {
    "heartbeat": heartbeat,
    "settle done": settles(leases.done),
    "settle policy": settles(lambda lease: leases.failed(lease, "policy", "no")),
    "settle permanent": settles(lambda lease: leases.after_error(lease, Permanent("no"))),
    "settle retry": settles(lambda lease: leases.after_error(lease, OSError("no"))),
    "settle died": settles(lambda lease: leases.after_error(lease, Died("no"))),
    "settle snoozed": settles(lambda lease: leases.snoozed(lease, LONG, "no")),
    "settle rewound": settles(lambda lease: leases.rewound(lease, "no")),
    "release": release_late,
    "commit": one_by_one(commit),
    "progress": one_by_one(lambda session, lease: leases.progress(session, lease, "booking")),
    "settle with effects": one_by_one(settle_with_effects),
}


def daemon_writes(daemon: Daemon) -> dict[str, Write]:
    """The same by the parts of a worker that believes it holds the leases; none is started.

    They do not say what landed: only the database does.
    """
    producer = next(p for p in daemon._producers if p.queue is LEDGER)

    def believing(act: Callable[[Session, Sequence[Lease]], object]) -> Write:
        def write(session: Session, held: Sequence[Lease]) -> int:
            daemon._held.add(list(held))
            act(session, held)
            for lease in held:
                daemon._held.drop(lease)
            return 0

        return write

    def beat(session: Session, _held: Sequence[Lease]) -> None:
        daemon._heartbeat._beat(session)

    def settle_batch(_session: Session, held: Sequence[Lease]) -> None:
        producer._settle_and_claim([Ended(leases.done(lease)) for lease in held], 0)

    def work(_session: Session, held: Sequence[Lease]) -> None:
        """Each row from where the worker believes it stands to its end."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(producer._executor.run, held))

    return {
        "worker's heartbeat": believing(beat),
        "worker's settlement": believing(settle_batch),
        "worker's whole work": believing(work),
    }
