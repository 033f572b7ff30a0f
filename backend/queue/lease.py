"""One row a worker holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from backend.queue.lifecycle import SUSPECT_STALLS, Queue, Stage

DEFAULT_TTL: Final = timedelta(seconds=12)


Lane = tuple[Any, ...]
"""(priority[, partition][, fairness key])"""


@dataclass(frozen=True, slots=True)
class Lease:
    """One row this worker holds. ``id`` + ``token`` is the fence of every write."""

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
    waited: timedelta = timedelta()
    """From becoming ready to being claimed."""
    rewinds: int = 0

    @property
    def suspect(self) -> bool:
        """It stalled twice and runs alone now."""
        return self.stalls >= SUSPECT_STALLS

    @property
    def lane(self) -> Lane:
        extra = (self.partition, self.fairness_key)
        return (self.priority, *(part for part in extra if part is not None))

    @property
    def next_stage(self) -> Stage | None:
        return self.queue.next_stage(self.step)
