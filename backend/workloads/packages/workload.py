"""What the packages workload brings: its tables and its queues."""

from backend.workloads.packages import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE

QUEUES = (VETTING_QUEUE, PUBLISHING_QUEUE)

__all__ = ["MODELS", "QUEUES"]
