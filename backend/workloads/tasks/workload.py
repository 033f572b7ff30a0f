"""What the tasks workload brings: its tables, its queue, whose a task is, how people are erased."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.workloads.tasks import data_model
from backend.workloads.tasks import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.tasks.data_erasure import erase
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.models import model as text_models
from backend.workloads.tasks.schedules import model as schedules

QUEUES = (TASKS_QUEUE,)

__all__ = ["MODELS", "QUEUES", "data_model", "erase", "owned", "schedules", "text_models"]


def owned(session: Session, row_id: int, user_id: int) -> bool:
    """A task is its submitter's."""
    submitted = select(Task.id).where(Task.id == row_id, Task.submitted_by == user_id)
    return bool(session.scalar(select(submitted.exists())))
