"""From a claimed task to its result: what its step is, what it is given, and what is stored."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.problems import Unavailable
from backend.queue.leases import Lease
from backend.queue.pipeline import Done, Isolation, Step
from backend.queue.retry import Permanent, Transient
from backend.settings import Settings
from backend.workloads.tasks.lifecycle import PERFORM
from backend.workloads.tasks.model import Task, TaskInput, TaskResult
from backend.workloads.tasks.registry import Asked, TaskType, task_types
from backend.workloads.tasks.sealing import Unsealable, unseal
from backend.workloads.tasks.tools import Tools


def reader(settings: Settings) -> Callable[[Session, int], Asked | None]:
    """Reads a task, and what its type gathers for it."""
    return partial(_read, settings)


def _read(settings: Settings, session: Session, row_id: int) -> Asked | None:
    """None where it is gone.

    Raises:
        Permanent: its parameters are no longer those of its type.
        Transient: another worker may know its type, or have the key of its parameters.
    """
    task, given = session.get(Task, row_id), session.get(TaskInput, row_id)
    if task is None or given is None:
        return None
    kind = task_types().get(task.task_type)
    if kind is None:
        raise Transient(f"this worker's release knows no task type {task.task_type}")
    asked = Asked(
        row_id=task.id,
        task_id=str(task.task_id),
        task_type=task.task_type,
        user_id=task.user_id,
        submitted_by=task.submitted_by,
        parameters=_parameters(kind, _opened(settings, given)),
    )
    if kind.gather is None:
        return asked
    return asked.model_copy(update={"data": kind.gather(session, asked)})


def _opened(settings: Settings, given: TaskInput) -> dict[str, Any]:
    if given.sealed is None:
        assert given.parameters is not None  # a CHECK says so
        return given.parameters
    try:
        return unseal(settings, given.sealed)
    except Unavailable as error:
        raise Transient(error.detail) from None
    except Unsealable as error:
        raise Transient(str(error)) from None


def _parameters(kind: TaskType, given: dict[str, Any]) -> dict[str, Any]:
    """With today's defaults for what was left out."""
    try:
        return kind.parameters.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Permanent(f"parameter {place} is not one of {kind.name} any more") from None


def chooser(tools: Tools) -> Callable[[Asked], Step]:
    """Answers the step of a task."""
    return partial(_step, tools)


def _step(tools: Tools, asked: Asked) -> Step:
    kind = task_types()[asked.task_type]
    save = partial(_save, kind, asked, tools.settings.task_result_retention)
    if kind.isolation is Isolation.THREAD:
        return Step(PERFORM, partial(_run_here, kind), save, timeout=kind.timeout)
    return Step(
        PERFORM,
        kind.run,
        save,
        timeout=kind.timeout,
        soft_timeout=kind.soft_timeout,
        isolation=Isolation.PROCESS,
        memory=kind.memory,
        result=kind.result,
        rehearse=kind.rehearse,
        prepare=partial(kind.prepare, tools) if kind.prepare else None,
        bulk=partial(kind.bulk, asked, tools) if kind.bulk else None,
    )


def _run_here(kind: TaskType, asked: Asked, tools: Tools) -> Done:
    return Done(kind.result.model_validate(kind.run(asked, tools)))


def _save(
    kind: TaskType, asked: Asked, keep: timedelta, session: Session, lease: Lease, result: Any
) -> None:
    """In the transaction that completes the task. One that is done again has a new result."""
    if kind.save is not None:
        # It may add to the result, and begins anew where the transaction is repeated.
        result = result.model_copy(deep=True)
        kind.save(session, lease, asked, result)
    kept = {
        "task": asked.row_id,
        "result": result.model_dump(mode="json"),
        "expires_at": func.clock_timestamp() + keep,
    }
    statement = insert(TaskResult).values(kept)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[TaskResult.task],
            set_={name: statement.excluded[name] for name in ("result", "expires_at")},
        )
    )
