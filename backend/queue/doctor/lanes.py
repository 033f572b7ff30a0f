"""Do rows that are due get claimed, and by workers of this release?"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product

from backend.queue import fleet
from backend.queue.doctor.findings import Examination, Finding, error, some, warning
from backend.queue.lanes import PRIORITIES
from backend.queue.lifecycle import Queue
from backend.queue.sql import examining
from backend.queue.wording import span, when


def movement(e: Examination) -> Iterator[Finding]:
    for queue in e.queues:
        lanes = list(product(PRIORITIES, queue.partitions or ("",)))
        params = {
            "lanes_priority": [priority for priority, _ in lanes],
            "lanes_partition": [partition for _, partition in lanes],
        }
        due = e.session.execute(examining.oldest_due(queue), params).one()
        if due.since is not None:
            yield from _waiting(e, queue, due.since, due.now - due.since)


def _waiting(e: Examination, queue: Queue, since: datetime, waited: timedelta) -> Iterator[Finding]:
    claiming = [one for one in fleet.alive(e.session, queue.name) if not one.draining]
    facts = {
        "queue": queue.name,
        "since": since,
        "seconds": round(waited.total_seconds(), 3),
        "workers": len(claiming),
    }
    longest = f"rows of the queue {queue.name} are due, the oldest since {when(since)}"
    if not claiming:
        if waited > e.limits.unserved:
            yield error(
                "no-worker", f"No live worker claims, but {longest}: start a worker.", **facts
            )
        return
    allowed = e.limits.claimed_within
    moving = e.session.scalar(examining.moves(queue), {"allowance": allowed})
    if waited > allowed and not moving:
        yield error(
            "queue-stands-still",
            f"{len(claiming)} live worker(s) serve it, but {longest}, and nothing was claimed for"
            f" {span(allowed.total_seconds())}. Look into the workers' logs"
            " (and, in a queue with partitions, which of them they serve).",
            **facts,
        )
    elif waited > e.limits.wait:
        yield warning(
            "long-wait",
            f"The queue {queue.name} moves, but not fast enough: {longest}. More workers, or more"
            " concurrency, would help.",
            **facts,
        )


def versions(e: Examination) -> Iterator[Finding]:
    if e.release is None:
        return
    others = [one for one in fleet.alive(e.session) if one.version != e.release.version]
    if others:
        yield warning(
            "worker-version",
            f"{len(others)} live worker(s) run another version than {e.release.version}:"
            f" {some(f'{one.name} ({one.version})' for one in others)}.",
            version=e.release.version,
            workers={one.name: one.version for one in others},
        )
