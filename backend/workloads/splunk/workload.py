"""What the Splunk workload brings: its tables, its queue, and whose a run is."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.workloads.splunk import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun

QUEUES = (SPLUNK_QUEUE,)

__all__ = ["MODELS", "QUEUES", "owned"]


def owned(session: Session, row_id: int, user_id: int) -> bool:
    """A run is its uploader's."""
    uploaded = select(IngestionRun.id).where(
        IngestionRun.id == row_id, IngestionRun.uploaded_by == user_id
    )
    return bool(session.scalar(select(uploaded.exists())))
