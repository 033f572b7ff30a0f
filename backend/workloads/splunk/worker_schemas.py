"""What workers that parse say of themselves and of their tasks."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from backend.identity.schemas import Moment, Output
from backend.workloads.splunk.failures import ErrorType
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.schemas import RunMetrics, RunOut, Status


class TaskPath(BaseModel):
    task_id: UUID


class QueueStats(Output):
    """Runs that wait: ``ready`` may be parsed now, ``later`` are tried again later."""

    ready: int
    later: int
    oldest_wait_seconds: float


class HealthOut(Output):
    """``workers`` live and parse; ``active_tasks`` are runs that are parsed now."""

    status: Literal["healthy"]
    workers: int
    active_tasks: int
    worker_names: list[str]
    stats: QueueStats


class TaskResult(Output):
    run_id: int
    metrics: RunMetrics


class TaskOut(Output):
    """``ready`` once it has ended; until then ``successful`` is null."""

    task_id: UUID
    run_id: int
    status: Status
    ready: bool
    successful: bool | None
    result: TaskResult | None
    error: str | None

    @classmethod
    def of(cls, run: IngestionRun) -> "TaskOut":
        shown = RunOut.of(run)
        ended, well = run.completed_at is not None, run.status == "complete"
        return cls(
            task_id=run.task_id, run_id=run.id, status=shown.status, ready=ended,
            successful=well if ended else None,
            result=TaskResult(run_id=run.id, metrics=shown.metrics) if well else None,
            error=run.error,
        )  # fmt: skip


class RetryStats(Output):
    """Of the tries after the first one of each run's last parse."""

    avg_retries: float
    max_retries: int


class FailureOut(Output):
    run_id: int
    task_id: UUID
    label: str | None
    filename: str
    error_type: ErrorType | None
    error_message: str | None
    retry_count: int
    failed_at: Moment


class MetricsOut(Output):
    """``avg_duration_seconds`` is null where no run is parsed yet."""

    status_counts: dict[Status, int]
    retry_stats: RetryStats
    avg_duration_seconds: float | None
    recent_failures: list[FailureOut]
