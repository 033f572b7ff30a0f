"""How the workers that parse are doing, and how what they did went."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.identity.roles import Principal
from backend.problems import NotFound, Unavailable
from backend.queue import fleet, overview
from backend.workloads.splunk import worker_schemas as shapes
from backend.workloads.splunk.failures import error_type
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.ownership import visible_to

RECENT: Final = 10


def health(session: Session) -> shapes.HealthOut:
    """Who is there to parse, and what waits.

    Raises:
        Unavailable: ``no-workers``; the document has the same members.
    """
    names = [worker.name for worker in fleet.alive(session, SPLUNK_QUEUE.name)]
    depth = overview.depth(session, SPLUNK_QUEUE)
    found = {
        "workers": len(names), "active_tasks": depth.held, "worker_names": names,
        "stats": shapes.QueueStats.model_validate(depth),
    }  # fmt: skip
    if not names:
        stats = found.pop("stats").model_dump()  # type: ignore[attr-defined]
        raise Unavailable(
            "No worker that parses is alive: runs wait.", code="no-workers", **found, stats=stats
        )
    return shapes.HealthOut(status="healthy", **found)


def task(session: Session, task_id: UUID, by: Principal) -> shapes.TaskOut:
    """The parse that bears this id.

    Raises:
        NotFound: no run's last parse does, or it is somebody else's.
    """
    wanted = select(IngestionRun).where(IngestionRun.task_id == task_id, *visible_to(by))
    run = session.scalar(wanted)
    if run is None:
        raise NotFound(f"There is no task {task_id}; a later parse of its run has another id.")
    return shapes.TaskOut.of(run)


def metrics(session: Session, by: Principal) -> shapes.MetricsOut:
    """Figures of the caller's runs, or for admins of all."""
    retries = func.greatest(IngestionRun.attempts - 1, 0)
    counted: Any = session.execute(
        select(
            IngestionRun.status, func.count(), func.sum(retries), func.max(retries),
            func.sum(IngestionRun.duration_seconds), func.count(IngestionRun.duration_seconds),
        )
        .where(*visible_to(by))
        .group_by(IngestionRun.status)
    ).all()  # fmt: skip
    runs = sum(row[1] for row in counted)
    parsed = sum(row[5] for row in counted)
    seconds = sum(row[4] or 0.0 for row in counted)
    return shapes.MetricsOut(
        status_counts={
            **dict.fromkeys(SPLUNK_QUEUE.words, 0),
            **{row[0]: row[1] for row in counted},
        },
        retry_stats=shapes.RetryStats(
            avg_retries=sum(row[2] for row in counted) / runs if runs else 0.0,
            max_retries=max((row[3] for row in counted), default=0),
        ),
        avg_duration_seconds=seconds / parsed if parsed else None,
        recent_failures=[_failure(run) for run in _failed(session, by)],
    )


def _failed(session: Session, by: Principal) -> list[IngestionRun]:
    """The last ones."""
    found = (
        select(IngestionRun)
        .where(IngestionRun.status == "failed", *visible_to(by))
        .order_by(IngestionRun.completed_at.desc(), IngestionRun.id.desc())
        .limit(RECENT)
    )
    return list(session.scalars(found))


def _failure(run: IngestionRun) -> shapes.FailureOut:
    return shapes.FailureOut(
        run_id=run.id, task_id=run.task_id, label=run.label, filename=run.filename,
        error_type=error_type(run.failure, run.error), error_message=run.error,
        retry_count=max(0, run.attempts - 1), failed_at=run.completed_at,
    )  # fmt: skip
