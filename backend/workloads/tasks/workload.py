"""What the tasks workload brings: its tables, its queue, and whose a task is."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.workloads.tasks import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task

QUEUES = (TASKS_QUEUE,)

__all__ = ["MODELS", "QUEUES", "owned"]


def owned(session: Session, row_id: int, user_id: int) -> bool:
    """A task is its submitter's."""
    submitted = select(Task.id).where(Task.id == row_id, Task.submitted_by == user_id)
    return bool(session.scalar(select(submitted.exists())))
