"""Moves old entries of the audit log into a file; a signed checkpoint stays."""

from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from backend.db import make_sessions
from backend.identity.roles import Role
from backend.queue.pipeline import Isolation
from backend.workloads.tasks.lifecycle import MAINTENANCE
from backend.workloads.tasks.maintenance.connections import cancellable
from backend.workloads.tasks.registry import HARD_LIMIT, Asked, Parameters, TaskType
from backend.workloads.tasks.tools import Tools


class ArchiveAuditLogs(Parameters):
    """How much stays in the log, and where the rest goes."""

    days_to_keep: int = Field(
        90, ge=1, le=36_500, title="Days to keep", description="What was sealed earlier goes."
    )
    archive_location: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        title="Folder",
        description="The name of a folder in AUDIT_ARCHIVE_DIR; absent: that one itself.",
    )
    dry_run: bool = Field(False, title="Dry run", description="Only say what would be archived.")


class AuditArchive(BaseModel):
    """What was moved; nothing where no seal is that old."""

    status: Literal["archived", "nothing_to_archive", "dry_run"]
    days_to_keep: int
    first_seal: int | None = None
    last_seal: int | None = None
    entries: int = Field(0, ge=0, title="Entries", description="In a dry run: that would be moved.")
    file: str | None = Field(None, title="File", description="Below AUDIT_ARCHIVE_DIR.")
    size_bytes: int | None = Field(None, ge=0, title="Size", description="Of the compressed file.")
    file_sha256: str | None = Field(
        None, title="SHA-256", description="Of the file; the checkpoint in the log states it, too."
    )
    verified: bool = Field(False, description="It was read back, and its chain has no fault.")
    signed: bool | None = Field(None, description="Whether a key has signed the checkpoint.")


def run(asked: Asked, tools: Tools) -> dict[str, Any]:
    from backend.workloads.tasks.maintenance import archiving

    wanted = ArchiveAuditLogs.model_validate(asked.parameters)
    archives = None if wanted.dry_run else archiving.folder(tools.settings)
    with cancellable(tools.engine) as connection:
        sessions = make_sessions(connection, limit=HARD_LIMIT)
        old = archiving.prefix(sessions, timedelta(days=wanted.days_to_keep))
        if old is None:
            return {"status": "nothing_to_archive", "days_to_keep": wanted.days_to_keep}
        if archives is None:
            return _result("dry_run", wanted, old.first, old.last.id, old.entries)
        place = archives / (wanted.archive_location or "")
        done = archiving.archive(sessions, old, place, archiving.key(tools.settings))
    written = done.written
    return _result("archived", wanted, written.first, written.last, written.entries) | {
        "file": str(done.file.relative_to(archives)),
        "size_bytes": done.size,
        "file_sha256": done.checkpoint.file_sha256,
        "verified": True,
        "signed": done.checkpoint.signature is not None,
    }


def _result(
    status: str, wanted: ArchiveAuditLogs, first: int, last: int, entries: int
) -> dict[str, Any]:
    return {
        "status": status,
        "days_to_keep": wanted.days_to_keep,
        "first_seal": first,
        "last_seal": last,
        "entries": entries,
    }


TASK = TaskType(
    name="archive_audit_logs",
    title="Archive the audit log",
    description="Moves what was sealed long ago into a compressed file, verifies it by reading it"
    " back, and only then removes it from the log; a signed checkpoint stays.",
    queue=MAINTENANCE,
    parameters=ArchiveAuditLogs,
    result=AuditArchive,
    run=run,
    subject="none",
    role=Role.ADMIN,
    isolation=Isolation.THREAD,
)
