"""What a task type is, and which there are: one module in ``types`` each, found by its name.

A module there declares ``TASK``. It is imported by the API, too, so that whatever is heavy or opens
a stranger's bytes is imported inside the functions that need it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from backend.identity.roles import Role
from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation
from backend.workloads.tasks.lifecycle import TASKS_QUEUE

HARD_LIMIT: Final = timedelta(minutes=30)
SOFT_LIMIT: Final = timedelta(minutes=25)
MEMORY: Final = 2 * 1024**3
"""Bytes of address space of a child; a numeric library reserves much more than it touches."""


class Parameters(BaseModel):
    """What a submitter may say of a task; a type's own parameters are a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(BaseModel):
    """One task as it is performed.

    ``user_id`` is whose data it works on: None for everybody's. ``submitted_by`` is None for the
    product itself. ``parameters`` are valid.
    ``data`` is what the type's ``gather`` read; a child is given all of this as a JSON object.
    """

    model_config = ConfigDict(frozen=True)

    row_id: int
    task_id: str
    task_type: str
    user_id: int | None
    submitted_by: int | None
    parameters: dict[str, Any]
    data: Any = None


@dataclass(frozen=True, kw_only=True)
class TaskType:
    """One kind of task.

    Args:
        name: as callers write it.
        title: for people, in a few words.
        description: what it computes, in one or two sentences.
        queue: which of the six it waits in.
        parameters: what a submitter may say; its JSON schema drives forms.
        result: what comes of it: every result is validated against it before it is stored.
        run: in a THREAD ``run(asked, tools) -> result``, where ``tools`` is
            :class:`backend.workloads.tasks.tools.Tools`, outside any transaction. In a PROCESS a
            module-level function from ``asked`` as a JSON object to the result as one: it has
            neither database nor network. Both say how far they are by
            :func:`backend.queue.reporting.report`.
        gather: ``gather(session, asked) -> data`` reads from the database what ``run`` needs, in a
            short transaction; what it answers must become JSON.
        save: ``save(session, lease, asked, result)`` writes what else is to be stored, in the
            transaction that completes the task.
        subject: how ``user_id`` is meant: "one" user's data, those of "one or all" (all need an
            admin), or "none": of the product itself.
        role: who may submit it.
        isolation: where it runs; what computes runs in a PROCESS.
        timeout, soft_timeout: limits of one attempt.
        memory: of the child, in bytes of address space.
        rehearse: see :class:`backend.queue.pipeline.Step`.
        prepare: ``prepare(tools, asked, folder)`` copies what the child needs into its folder, see
            the same.
        bulk: ``bulk(asked, tools, session, lease, result, *, folder)``, see the same.
        sealed: the parameters are encrypted at rest.
        max_attempts: in all.
    """

    name: str
    title: str
    description: str
    queue: str
    parameters: type[Parameters]
    result: type[BaseModel]
    run: Callable[..., Any]
    gather: Callable[[Session, Asked], Any] | None = None
    save: Callable[[Session, Lease, Asked, Any], None] | None = None
    subject: str = "one"
    role: Role = Role.USER
    isolation: Isolation = Isolation.PROCESS
    timeout: timedelta = HARD_LIMIT
    soft_timeout: timedelta = SOFT_LIMIT
    memory: int = MEMORY
    rehearse: Callable[[], None] | None = None
    prepare: Callable[..., None] | None = None
    bulk: Callable[..., None] | None = None
    sealed: bool = False
    max_attempts: int = TASKS_QUEUE.max_attempts

    def __post_init__(self) -> None:
        if self.queue not in (TASKS_QUEUE.partitions or ()):
            raise ValueError(f"task type {self.name}: there is no queue {self.queue!r}")
        if self.subject not in ("one", "one or all", "none"):
            raise ValueError(f"task type {self.name}: {self.subject!r} is no subject")
        if not self.soft_timeout < self.timeout <= HARD_LIMIT:
            raise ValueError(f"task type {self.name}: its limits are not below each other")


@cache
def task_types() -> Mapping[str, TaskType]:
    """Every task type by its name, in alphabetical order."""
    folder = Path(__file__).parent / "types"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    found = [import_module(f"{__package__}.types.{name}").TASK for name in names]
    return {task.name: task for task in found}
