"""What the Splunk API reads and answers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, StringConstraints

from backend.identity.schemas import Moment, Output
from backend.operations import UploadedFile
from backend.workloads.splunk.failures import ErrorType, error_type
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.places import UploadType

Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Notes = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]
Status = Literal["pending", "stored", "parsing", "complete", "failed"]


class UploadFields(BaseModel):
    """What the form says of its file."""

    type: UploadType
    label: Label | None = None
    notes: Notes | None = None


class UploadIn(UploadFields):
    """An archive (tar, tar.gz, zip) or a conf file; its fields may stand before or after it."""

    file: UploadedFile


class RunMetrics(Output):
    """Of the last parse that was complete; ``error_type`` says how the last attempt failed."""

    files_parsed: int | None
    stanzas_created: int | None
    duration_seconds: float | None
    parse_errors: int | None
    retry_count: int
    error_type: ErrorType | None


class RunOut(Output):
    """``type`` is null where the upload died before it was said."""

    id: int
    type: UploadType | None
    label: str | None
    notes: str | None
    status: Status
    filename: str
    sha256: str | None
    size_bytes: int | None
    duplicate_of: int | None
    uploaded_by: int
    task_id: UUID
    retry_count: int
    error_message: str | None
    error_traceback: str | None
    last_heartbeat: Moment | None
    created_at: Moment
    stored_at: Moment | None
    started_at: Moment | None
    completed_at: Moment | None
    metrics: RunMetrics

    @classmethod
    def of(cls, run: IngestionRun, *, traceback: str | None = None) -> "RunOut":
        """``traceback`` is redacted, and for admins alone."""
        retries = max(0, run.attempts - 1)
        metrics = RunMetrics(
            files_parsed=run.files_parsed, stanzas_created=run.stanzas_created,
            duration_seconds=run.duration_seconds, parse_errors=run.parse_errors,
            retry_count=retries, error_type=error_type(run.failure, run.error),
        )  # fmt: skip
        return cls.model_validate({
            **{name: getattr(run, name) for name in cls.model_fields if hasattr(run, name)},
            "retry_count": retries, "error_message": run.error, "error_traceback": traceback,
            "last_heartbeat": run.heartbeat_at, "metrics": metrics,
        })  # fmt: skip
