"""What is asked about tasks, and what is answered."""

from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, model_validator

from backend.identity.roles import Principal, Role
from backend.identity.schemas import GivenMoment, Input, Moment, Output, RowId
from backend.queue.pipeline import Isolation
from backend.workloads.tasks.asking import DEFAULT_PRIORITY, LATEST, Ask
from backend.workloads.tasks.registry import TaskType
from backend.workloads.tasks.submission import Submitted

MOST: Final = 100
"""Tasks on one page."""
DEEPEST: Final = 100_000

TypeName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
QueueName = Literal[
    "ari_analysis", "ffe_planning", "edm_analysis", "model_training", "maintenance", "default"
]


class ById(BaseModel):
    task_id: UUID


class AskIn(Input):
    """A task of a type that the path names."""

    task_type: TypeName | None = Field(None, description="May be left out: the path names it.")
    user_id: RowId | None = Field(
        None, description="Whose data it works on; other users' need an admin."
    )
    priority: int = Field(DEFAULT_PRIORITY, ge=1, le=10, description="10 is the most urgent.")
    parameters: dict[str, Any] = Field({}, description="See GET /api/tasks/types.")
    run_at: GivenMoment | None = Field(
        None, strict=False, description="Not before; later than now, by a year at most."
    )
    delay_seconds: int | None = Field(
        None, ge=0, le=int(LATEST.total_seconds()), description="Instead of run_at."
    )
    unique: bool = Field(
        False, description="If one of yours that is the same still waits, that one is meant."
    )

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if self.run_at is not None and self.delay_seconds is not None:
            raise ValueError("give run_at or delay_seconds, not both")
        return self

    def ask(self, task_type: str, idempotency_key: str | None) -> Ask:
        delay = self.delay_seconds
        return Ask(
            task_type=task_type,
            user_id=self.user_id,
            parameters=self.parameters,
            priority=self.priority,
            run_at=self.run_at,
            delay=None if delay is None else timedelta(seconds=delay),
            unique=self.unique,
            idempotency_key=idempotency_key,
        )


class TaskIn(AskIn):
    """A task of any type."""

    task_type: TypeName


class SubmittedOut(BaseModel):
    """``existing`` where it had been submitted before: nothing was done then."""

    task_id: UUID
    row_id: int = Field(description="Its number in the queue `tasks`.")
    status: Status
    created_at: Moment
    existing: bool
    message: str

    @classmethod
    def of(cls, made: Submitted) -> Self:
        said = "It had been submitted before." if made.existing else "It is done by a worker."
        return cls(
            task_id=made.task_id, row_id=made.row_id, status=made.status,
            created_at=made.created_at, existing=made.existing, message=said,
        )  # fmt: skip


class TypeOut(BaseModel):
    """One task type. ``parameters`` and ``result`` are JSON schemas; limits are in seconds.

    ``subject``: the data of `one` user, of `one or all`, or of `none`: the product's own.
    """

    name: str
    title: str
    description: str
    queue: QueueName
    role: Role
    allowed: bool = Field(description="Whether the caller may submit it.")
    subject: Literal["one", "one or all", "none"]
    isolation: Isolation
    soft_limit_seconds: float
    limit_seconds: float
    max_attempts: int
    sealed: bool = Field(description="Whether parameters are encrypted where they are stored.")
    parameters: dict[str, Any]
    result: dict[str, Any]

    @classmethod
    def of(cls, kind: TaskType, caller: Principal) -> Self:
        copied = {"name", "title", "description", "queue", "role", "subject", "isolation"}
        copied |= {"max_attempts", "sealed"}
        return cls(
            **{name: getattr(kind, name) for name in copied},
            allowed=caller.may(kind.role),
            soft_limit_seconds=kind.soft_timeout.total_seconds(),
            limit_seconds=kind.timeout.total_seconds(),
            **_schemas(kind),
        )


@cache
def _schemas(kind: TaskType) -> dict[str, Any]:
    """They cost a good part of a millisecond each."""
    return {
        "parameters": kind.parameters.model_json_schema(),
        "result": kind.result.model_json_schema(mode="serialization"),
    }


class TypesOut(BaseModel):
    types: list[TypeOut]


class TaskOut(Output):
    """A task without its result. ``row_id`` is its number in the queue `tasks`.

    ``user_id`` is whose data it works on, null for everybody's or nobody's. ``progress`` is in
    percent. ``next_attempt_at`` is there where it waits for a later time, also after a failure.
    """

    task_id: UUID
    row_id: int
    task_type: str
    task_name: str
    queue: QueueName
    status: Status
    priority: int
    user_id: int | None
    submitted_by: int | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    next_attempt_at: Moment | None
    duration_seconds: float | None
    progress: int
    progress_message: str | None
    attempts: int
    max_attempts: int
    failure: str | None
    error_message: str | None


class TaskDetail(TaskOut):
    """``result`` is null before the task is completed, and again once it has expired.

    ``parameters`` are null where they are kept sealed.
    """

    parameters: dict[str, Any] | None
    result: Any
    result_expires_at: Moment | None
    result_expired: bool


class PageIn(BaseModel):
    user_id: RowId | None = Field(None, description="Whose data they work on.")
    limit: int = Field(50, ge=1, le=MOST)
    offset: int = Field(0, ge=0, le=DEEPEST)


class ListIn(PageIn):
    """Which tasks; all that is given must hold."""

    status: Status | None = None
    task_type: TypeName | None = None


class TasksOut(BaseModel):
    """Newest first; ``total_count`` counts those on all pages."""

    tasks: list[TaskOut]
    total_count: int
    limit: int
    offset: int


class CancelledOut(BaseModel):
    task_id: UUID
    status: Literal["cancelled"]
    message: str


class LaneOut(BaseModel):
    """One queue now: ``waiting`` may run, ``later`` is for a later time."""

    waiting: int
    later: int
    running: int
    oldest_wait_seconds: float
    paused: bool


class HealthOut(BaseModel):
    """``unhealthy``: nobody does tasks. ``degraded``: see ``reasons``."""

    health: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[str]
    workers: int
    queues: dict[str, LaneOut]
    attempts_last_hour: dict[str, int] = Field(description="Ended attempts by what came of them.")
