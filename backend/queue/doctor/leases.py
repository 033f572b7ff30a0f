"""Held rows, and the attempts they take."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row

from backend.queue.doctor.findings import Examination, Finding, error, rows_of, some, warning
from backend.queue.lifecycle import Queue
from backend.queue.sql import examining, server
from backend.queue.wording import span, when


def stuck(e: Examination) -> Iterator[Finding]:
    allowed = e.limits.reaped_within
    for queue in e.queues:
        found = e.session.execute(examining.overdue(queue), {"allowance": allowed}).all()
        if found:
            yield _stuck(e, queue, found)


def _stuck(e: Examination, queue: Queue, found: Sequence[Row[Any]]) -> Finding:
    first, ids = found[0], [row.id for row in found]
    facts = {
        "queue": queue.name,
        "rows": first.number,
        "ids": ids,
        "worker": first.leased_by,
        "since": first.lease_expires_at,
    }
    sentence = (
        f"{rows_of(first.number, ids, queue.table)} are held by leases that ended over"
        f" {span(e.limits.reaped_within.total_seconds())} ago, the oldest at"
        f" {when(first.lease_expires_at)}: nobody takes them back."
    )
    lockers = e.session.execute(server.LOCKERS, {"xids": [row.locker for row in found]}).all()
    if lockers:
        who = some(f"{one.pid} (application {one.application_name!r})" for one in lockers)
        return error(
            "blocked",
            f"{sentence} Open transactions have rows of them locked: pid {who}. End them: SELECT"
            f" pg_terminate_backend({lockers[0].pid}).",
            **facts,
            pids=[one.pid for one in lockers],
        )
    return error(
        "stuck-lease",
        f"{sentence} See that a worker serves the queue {queue.name} and that its database"
        " connection is steady.",
        **facts,
    )


def unmoving(e: Examination) -> Iterator[Finding]:
    allowed = e.limits.progress
    for queue in e.queues:
        found = e.session.execute(examining.unmoving(queue), {"allowance": allowed}).all()
        if not found:
            continue
        first = found[0]
        yield warning(
            "no-progress",
            f"{rows_of(first.number, [row.id for row in found], queue.table)} are held by living"
            f" workers and made no progress for over {span(allowed.total_seconds())}; the oldest is"
            f" with {first.leased_by}. Look into that worker's log.",
            queue=queue.name,
            rows=first.number,
            ids=[row.id for row in found],
            worker=first.leased_by,
            since=first.progressed_at,
        )


def left_behind(e: Examination) -> Iterator[Finding]:
    for queue in e.queues:
        for row in e.session.execute(examining.left_behind(queue)):
            yield warning(
                "dead-worker-holds",
                f"Worker {row.leased_by} is not alive (last sign of it at {when(row.seen_at)}) and"
                f" still holds {row.number} row(s) of {queue.table}. They are taken back once"
                " their leases end and a worker serves the queue.",
                queue=queue.name,
                worker=row.leased_by,
                rows=row.number,
                since=row.seen_at,
            )


def spent(e: Examination) -> Iterator[Finding]:
    for queue in e.queues:
        found = e.session.execute(examining.spent(queue), {"most": e.limits.rows}).all()
        if found:
            ids = [row.id for row in found]
            yield error(
                "attempts-exceeded",
                f"{rows_of(len(ids), ids, queue.table)} wait or run with more attempts than they"
                f" may have ({found[0].attempts} of {found[0].max_attempts}): something other than"
                " the engine has written to them.",
                queue=queue.name,
                ids=ids,
            )
