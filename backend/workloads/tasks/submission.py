"""How a task enters its queue: checked, noted in the audit log, in the caller's transaction.

After the commit the caller tells the workers, see :mod:`backend.queue.entry`.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict
from backend.queue import sql
from backend.queue.entry import enqueue
from backend.settings import Settings
from backend.workloads.tasks.asking import Ask, Caller, Wanted, demand_time, understood
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task, TaskInput
from backend.workloads.tasks.sealing import keyed_digest, seal

_PRODUCT: Final = ""
"""The product's own tasks share one lane."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task, and whether it had been submitted before: then nothing was done."""

    row_id: int
    task_id: UUID
    status: str
    created_at: datetime
    existing: bool


def submit(session: Session, settings: Settings, caller: Caller, ask: Ask) -> Submitted:
    """Queue a task; commits nothing.

    Args:
        session: its transaction holds all of it.
        settings: of this process, for the key of types that are sealed.
        caller: whose task it becomes; a part of the product's belongs to nobody.
        ask: what is to be done.

    Returns:
        The new task, or one that ``ask``'s key, or its wish to be the only one, led to.

    Raises:
        Malformed, Forbidden, NotFound: see :func:`asking.understood` and :func:`demand_time`.
        Conflict: ``idempotency-key-reused``: its key belongs to another request.
        Unavailable: ``task-key-missing``: such tasks are sealed, and there is no TASK_KEY.
    """
    wanted = understood(session, caller, ask)
    marks = _marks(settings, caller, ask, wanted)
    known = _known(session, caller, ask, marks)
    if known is not None:
        return known
    demand_time(ask)
    task_id = uuid4()
    row_id = _enqueue(session, task_id, caller, ask, wanted, marks)
    created_at = _store(session, settings, row_id, wanted)
    audit.record(
        session, caller, "task.submitted", f"task:{task_id}",
        task_type=wanted.kind.name, user_id=wanted.user_id, priority=ask.priority,
        **({"by": ask.by} if ask.by else {}),
    )  # fmt: skip
    return Submitted(row_id, task_id, TASKS_QUEUE.ready, created_at, existing=False)


@dataclass(frozen=True, slots=True)
class _Marks:
    """By what a task is known again: SHA-256, or a keyed digest of what is sealed."""

    request: bytes | None
    unique: bytes | None


def _marks(settings: Settings, caller: Caller, ask: Ask, wanted: Wanted) -> _Marks:
    request = {
        "user_id": ask.user_id,
        "parameters": dict(ask.parameters),
        "priority": ask.priority,
        "run_at": ask.run_at and ask.run_at.isoformat(),
        "delay": ask.delay and ask.delay.total_seconds(),
        "unique": ask.unique,
    }
    same = {
        "submitted_by": _id(caller),
        "user_id": wanted.user_id,
        "parameters": wanted.parameters,
    }
    return _Marks(
        _digest(settings, wanted, request) if ask.idempotency_key is not None else None,
        _digest(settings, wanted, same) if ask.unique else None,
    )


def _digest(settings: Settings, wanted: Wanted, document: dict[str, Any]) -> bytes:
    text = json.dumps({"task_type": wanted.kind.name, **document}, sort_keys=True).encode()
    if wanted.kind.sealed:  # a plain one could be guessed from
        return keyed_digest(settings, text)
    return hashlib.sha256(text).digest()


def _known(session: Session, caller: Caller, ask: Ask, marks: _Marks) -> Submitted | None:
    """The task that is meant; locks out whoever asks for the same meanwhile.

    In statements of their own: one that waits for a lock does not see what was written meanwhile.

    Raises:
        Conflict: the key was another request's.
    """
    if ask.idempotency_key is not None:
        _lock(session, f"task key {_id(caller)} {ask.idempotency_key}")
        mine = Task.submitted_by == _id(caller), Task.idempotency_key == ask.idempotency_key
        if found := _find(session, *mine):
            submitted, digest = found
            if digest != marks.request:
                raise Conflict(
                    "This Idempotency-Key was used for another request: take a new one.",
                    code="idempotency-key-reused",
                )
            return submitted
    if marks.unique is not None:
        _lock(session, f"task unique {marks.unique.hex()}")
        waits = Task.unique_key == marks.unique, Task.status == sql.word(TASKS_QUEUE.ready)
        if found := _find(session, *waits):
            return found[0]
    return None


def _lock(session: Session, name: str) -> None:
    """Until the transaction ends. What two may not do is said by unique indexes as well."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _find(session: Session, *which: ColumnElement[bool]) -> tuple[Submitted, bytes | None] | None:
    columns = Task.id, Task.task_id, Task.status, Task.created_at, Task.request_digest
    found = session.execute(select(*columns).where(*which)).one_or_none()
    return found and (Submitted(*found[:4], existing=True), found[4])


def _enqueue(
    session: Session, task_id: UUID, caller: Caller, ask: Ask, wanted: Wanted, marks: _Marks
) -> int:
    later: dict[str, Any] = {}
    if ask.run_at is not None:
        later["available_at"] = ask.run_at
    if ask.delay is not None:
        later["delay"] = ask.delay
    return enqueue(
        session,
        TASKS_QUEUE,
        task_id=task_id,
        task_type=wanted.kind.name,
        partition=wanted.kind.queue,
        fairness_key=_PRODUCT if isinstance(caller, str) else str(caller.id),
        user_id=wanted.user_id,
        submitted_by=_id(caller),
        priority=ask.priority,
        max_attempts=wanted.kind.max_attempts,
        idempotency_key=ask.idempotency_key,
        request_digest=marks.request,
        unique_key=marks.unique,
        **later,
    )


def _store(session: Session, settings: Settings, row_id: int, wanted: Wanted) -> datetime:
    """Answers when the task was created: both rows are of one transaction, which is one moment."""
    content: dict[str, Any] = (
        {"sealed": seal(settings, wanted.parameters)}
        if wanted.kind.sealed
        else {"parameters": wanted.parameters}
    )
    stored = insert(TaskInput).values(task=row_id, **content).returning(func.now())
    moment: datetime = session.execute(stored).scalar_one()
    return moment


def _id(caller: Caller) -> int | None:
    return caller.id if isinstance(caller, Principal) else None
