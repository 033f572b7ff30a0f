"""What the webhooks workload brings: its tables and its queues. Its rows are the admins'."""

from backend.workloads.webhooks import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.webhooks.lifecycle import DELIVERIES_QUEUE, EVENTS_QUEUE

QUEUES = (EVENTS_QUEUE, DELIVERIES_QUEUE)

__all__ = ["MODELS", "QUEUES"]
