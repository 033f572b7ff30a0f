"""What is asked about runs as a whole, and what is answered."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from backend.identity.schemas import Moment, Output
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.places import UploadType
from backend.workloads.splunk.resolution.schemas import Paged, PageIn, Question
from backend.workloads.splunk.schemas import RunMetrics, RunOut, Status

Counts = Annotated[dict[str, int], Field(description="The most frequent first.")]


def paging(asked: PageIn, total: int) -> dict[str, Any]:
    """The members of ``Paged``, and the ``total`` of all pages."""
    more = asked.page * asked.per_page < total
    following = asked.page + 1 if more else None
    return {"page": asked.page, "per_page": asked.per_page, "next": following, "total": total}


class RunsIn(PageIn):
    """Which runs; all that is given must hold."""

    status: Status | None = None
    type: UploadType | None = None


class RunsOut(Paged):
    """``total`` counts the runs that were asked for, on all pages."""

    runs: list[RunOut]
    total: int


class ParseIn(Question):
    force: bool = Field(False, description="Parse a run again that is complete.")


class ParseOut(RunOut):
    """The run as it is now; ``accepted`` where this call had it parsed, under a new ``task_id``."""

    accepted: bool

    @classmethod
    def told(cls, run: IngestionRun, *, accepted: bool) -> "ParseOut":
        return cls(**dict(RunOut.of(run)), accepted=accepted)


class StatusOut(Output):
    """How far a run is; ``next_attempt_at`` where it failed and is to be tried again."""

    id: int
    status: Status
    task_id: UUID
    retry_count: int
    error_message: str | None
    last_heartbeat: Moment | None
    started_at: Moment | None
    completed_at: Moment | None
    next_attempt_at: Moment | None
    metrics: RunMetrics

    @classmethod
    def of(cls, run: IngestionRun) -> "StatusOut":
        backing_off = run.status == "stored" and run.error is not None
        shown = RunOut.of(run)
        return cls(
            **{name: getattr(shown, name) for name in cls.model_fields if hasattr(shown, name)},
            next_attempt_at=run.available_at if backing_off else None,
        )


class ArchiveNotice(Output):
    """Something strange about the archive as a whole."""

    code: str
    message: str


class SummaryOut(Output):
    """What a parse found, counted.

    ``files`` are by kind, ``skipped`` by reason, ``warnings`` by code; ``conf_types``, ``layers``
    and ``apps`` count stanzas, metadata included. An archive may name any number of conf types and
    apps: ``left_out`` says of how many there is no count here.
    """

    id: int
    status: Status
    type: UploadType | None
    archive_kind: str | None
    total_files: int
    total_stanzas: int
    files: Counts
    conf_types: Counts
    layers: Counts
    apps: Counts
    warnings: Counts
    skipped: Counts
    notices: list[ArchiveNotice]
    left_out: dict[str, int]
