"""One row a worker holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from backend.queue.lifecycle import SUSPECT_STALLS, Queue, Stage

DEFAULT_TTL: Final = timedelta(seconds=12)


Lane = tuple[Any, ...]
"""(priority[, partition][, fairness key])"""


@dataclass(slots=True)
class Lease:
    """One row this worker holds. ``id`` + ``token`` is the fence of every write.

    A value: nobody changes one. To say so (``frozen``) would take six times as long to make one.
    """

    queue: Queue
    id: int
    token: UUID
    status: str
    step: str | None
    priority: int
    available_at: datetime
    attempts: int
    max_attempts: int
    stalls: int
    partition: str | None = None
    fairness_key: str | None = None
    waited: float = 0.0
    """Seconds from becoming ready to being claimed."""
    rewinds: int = 0

    @property
    def suspect(self) -> bool:
        """It stalled twice and runs alone now."""
        return self.stalls >= SUSPECT_STALLS

    @property
    def lane(self) -> Lane:
        if self.partition is None:
            key = self.fairness_key
            return (self.priority,) if key is None else (self.priority, key)
        if self.fairness_key is None:
            return self.priority, self.partition
        return self.priority, self.partition, self.fairness_key

    @property
    def next_stage(self) -> Stage | None:
        return self.queue.next_stage(self.step)
