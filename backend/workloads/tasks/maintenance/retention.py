"""Deletes rows by their age: a thousand at a time, each batch a transaction of its own.

A batch locks only rows that have ended, and waits for none: claims, which look for ready rows, go
on beside it. Where a batch is cut short, what was deleted before stays deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.identity import audit
from backend.queue.reporting import report
from backend.upkeep import Retained

ACTOR = "maintenance"


@dataclass(frozen=True, slots=True)
class Enforced:
    """``old`` rows were found older than ``before``, and ``deleted`` of them are gone.

    The difference is what somebody else had locked, or deleted first.
    """

    kind: str
    days: int
    before: datetime
    old: int
    deleted: int


def enforce(
    sessions: Sessions,
    kind: Retained,
    *,
    days: int,
    dry_run: bool,
    task: str,
    begin: float = 0,
    share: float = 100,
) -> Enforced:
    """Delete what is older than so many days by the database's clock; count it in a dry run.

    Args:
        begin, share: in percent, where in the task this kind begins, and its part of it.
        task: the id of the task that does it, for the audit log.

    Raises:
        LeaseLost: between two batches, once the task was cancelled.
    """
    with sessions.begin() as session:
        before = session.scalars(select(func.now())).one() - timedelta(days=days)
        old = kind.count(session, before)
    deleted = 0
    for gone in () if dry_run or not old else _batches(sessions, kind, before, task):
        deleted += gone
        report(begin + share * min(1, deleted / old), f"{kind.name}: {deleted} of {old} deleted")
    return Enforced(kind.name, days, before, old, deleted)


def _batches(sessions: Sessions, kind: Retained, before: datetime, task: str) -> Iterator[int]:
    """Delete one after the other; yields how many rows each had."""
    gone, after = kind.rows, 0
    while gone == kind.rows:
        with sessions.begin() as session:
            ids = kind.delete(session, before, after, kind.rows)
            gone, after = len(ids), max(ids, default=after)
            if gone:
                _note(session, kind, gone, before, task)
        yield gone


def _note(session: Session, kind: Retained, gone: int, before: datetime, task: str) -> None:
    audit.record(
        session, ACTOR, "rows.deleted", f"rows:{kind.name}",
        rows=gone, older_than=before.isoformat(), task=task,
    )  # fmt: skip
