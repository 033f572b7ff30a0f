"""What a task has that runs in a thread of the worker."""

from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Engine

from backend.db import Sessions, make_engine, make_sessions
from backend.settings import Settings
from backend.storage.blobs import Blobs
from backend.storage.configured import blobs_of
from backend.workloads.tasks.registry import HARD_LIMIT


@dataclass(frozen=True)
class Tools:
    """The worker's settings, and what they lead to once somebody needs it."""

    settings: Settings = field(repr=False)

    @cached_property
    def engine(self) -> Engine:
        """Connections of its own: what a task does on them may take long."""
        url = self.settings.require_database_url()
        return make_engine(url, pool_size=2, application_name="lockkeeper-tasks")

    @cached_property
    def sessions(self) -> Sessions:
        return make_sessions(self.engine, limit=HARD_LIMIT)

    @property
    def blobs(self) -> Blobs:
        return blobs_of(self.settings)
