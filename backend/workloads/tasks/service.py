"""Tasks that were submitted: shown, listed, cancelled, retried. Commits nothing."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, case, false, func, select, true, update
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal, Role
from backend.problems import Malformed, NotFound
from backend.queue import control, sql
from backend.queue.lifecycle import FAILURES
from backend.workloads.tasks import schemas as shapes
from backend.workloads.tasks.asking import demand_role, demand_subject
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task, TaskInput, TaskResult
from backend.workloads.tasks.registry import task_types

_SAME: Final = (
    "task_id", "task_type", "queue", "status", "priority", "user_id", "submitted_by",
    "created_at", "started_at", "completed_at", "progress_message", "attempts", "max_attempts",
    "failure",
)  # fmt: skip
_NOW: Final = func.clock_timestamp()
_WAITS: Final = Task.status == sql.word(TASKS_QUEUE.ready)
_DONE: Final = Task.status == sql.word(TASKS_QUEUE.done)

_SHOWN: Final[tuple[ColumnElement[Any], ...]] = (
    *(getattr(Task, name) for name in _SAME),
    Task.id.label("row_id"),
    Task.error.label("error_message"),
    case((_DONE, 100), else_=Task.progress).label("progress"),
    case((_WAITS & (Task.available_at > _NOW), Task.available_at)).label("next_attempt_at"),
    func.round(
        func.extract("epoch", func.coalesce(Task.completed_at, _NOW) - Task.started_at), 3
    ).label("duration_seconds"),
)


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Which tasks the caller sees: their own, and admins all."""
    return true() if principal.may(Role.ADMIN) else Task.submitted_by == principal.id


def shown(session: Session, task_id: UUID, by: Principal) -> shapes.TaskDetail:
    """One task with its result. Raises NotFound."""
    there = TaskResult.expires_at > _NOW
    wanted = (
        select(
            *_SHOWN,
            TaskInput.parameters,
            case((there, TaskResult.result)).label("result"),
            case((there, TaskResult.expires_at)).label("result_expires_at"),
            (_DONE & ~func.coalesce(there, false())).label("result_expired"),
        )
        .outerjoin(TaskInput, TaskInput.task == Task.id)
        .outerjoin(TaskResult, TaskResult.task == Task.id)
        .where(Task.task_id == task_id, visible_to(by))
    )
    found = session.execute(wanted).one_or_none()
    if found is None:
        raise _no_task(task_id)
    return shapes.TaskDetail(**_named(found))


def listed(
    session: Session,
    by: Principal,
    page: shapes.PageIn,
    *,
    status: str | None = None,
    task_type: str | None = None,
) -> shapes.TasksOut:
    """The caller's tasks, or for admins all, newest first."""
    conditions = [visible_to(by)]
    if status is not None:
        conditions.append(Task.status == sql.word(status))
    if task_type is not None:
        conditions.append(Task.task_type == task_type)
    if page.user_id is not None:
        conditions.append(Task.user_id == page.user_id)
    total = session.scalar(select(func.count()).select_from(Task).where(*conditions))
    newest: Select[Any] = select(*_SHOWN).where(*conditions).order_by(Task.id.desc())
    rows = session.execute(newest.offset(page.offset).limit(page.limit))
    return shapes.TasksOut(
        tasks=[shapes.TaskOut(**_named(row)) for row in rows],
        total_count=total or 0, limit=page.limit, offset=page.offset,
    )  # fmt: skip


def cancel(session: Session, task_id: UUID, by: Principal) -> None:
    """End a task that waits or runs; what runs stops once its worker hears of it.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Malformed: ``not-cancellable``: it has ended.
    """
    task = _locked(session, task_id, by)
    if not control.cancel(session, TASKS_QUEUE, [task.id], why=f"cancelled by user {by.id}"):
        raise Malformed(
            f"Task {task_id} is {task.status}: there is nothing to cancel.", code="not-cancellable"
        )
    audit.record(session, by, "task.cancelled", f"task:{task_id}", was=task.status)


def retry(session: Session, task_id: UUID, by: Principal) -> shapes.TaskDetail:
    """Have a failed task done again, with all its attempts.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Malformed: ``not-failed``; ``unknown-task-type``: this release does not have it any more.
        Forbidden: the caller could not submit it now.
    """
    task = _locked(session, task_id, by)
    if task.status != TASKS_QUEUE.failed:
        raise Malformed(
            f"Task {task_id} is {task.status}: only a failed one is retried.", code="not-failed"
        )
    kind = task_types().get(task.task_type)
    if kind is None:
        raise Malformed(
            f"There is no task type {task.task_type} any more.", code="unknown-task-type"
        )
    demand_role(kind, by)
    demand_subject(kind, by, task.user_id)
    control.requeue(session, TASKS_QUEUE, [task.id], failures=FAILURES)
    afresh = {"progress": 0, "progress_message": None, "started_at": None}
    session.execute(update(Task).where(Task.id == task.id).values(afresh))
    audit.record(session, by, "task.retried", f"task:{task_id}", failure=task.failure)
    return shown(session, task_id, by)


def _locked(session: Session, task_id: UUID, by: Principal) -> Row[*tuple[Any, ...]]:
    """As it stands, and stays until the transaction ends. Raises NotFound."""
    columns = Task.id, Task.status, Task.task_type, Task.user_id, Task.failure
    wanted = select(*columns).where(Task.task_id == task_id, visible_to(by))
    found = session.execute(wanted.with_for_update(key_share=True)).one_or_none()
    if found is None:
        raise _no_task(task_id)
    return found


def _no_task(task_id: UUID) -> NotFound:
    return NotFound(f"There is no task {task_id}.")


def _named(row: Row[*tuple[Any, ...]]) -> Mapping[str, Any]:
    """With the title of its type; of one that this release does not have, the name."""
    kind = task_types().get(row.task_type)
    return {**row._mapping, "task_name": kind.title if kind else row.task_type}  # noqa: SLF001 - SQLAlchemy's documented way
