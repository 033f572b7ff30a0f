"""Removes bytes that can be had again, or that nobody needs any more."""

import socket
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Role
from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation
from backend.queue.retry import Transient
from backend.storage.blobs import StorageError
from backend.workloads.tasks.lifecycle import MAINTENANCE
from backend.workloads.tasks.maintenance.cleaning import Cleaned, clean
from backend.workloads.tasks.registry import Asked, Parameters, TaskType
from backend.workloads.tasks.tools import Tools


class CleanupCache(Parameters):
    """What counts as old, and whether what is young may go, too."""

    max_age_hours: int = Field(
        24, ge=1, le=87_600, title="Age", description="Hours; what was written earlier is old."
    )
    cleanup_expired_only: bool = Field(
        True,
        title="Only what is old",
        description="Otherwise bytes of published packages go whatever their age; unfinished files"
        " never go before they are old.",
    )
    dry_run: bool = Field(False, title="Dry run", description="Only measure what would go.")


class CacheCleaned(BaseModel):
    """What was removed, on the machine of the worker that did it and from the shared store."""

    dry_run: bool
    host: str = Field(title="Machine")
    caches: list[Cleaned]
    removed: int = Field(
        ge=0, title="Removed", description="Files, folders and objects, of all caches."
    )
    bytes_removed: int = Field(ge=0)
    failed: int = Field(ge=0, title="Failed", description="Could not be removed.")


def run(asked: Asked, tools: Tools) -> dict[str, Any]:
    from backend.workloads.tasks.maintenance.offered import caches

    wanted = CleanupCache.model_validate(asked.parameters)
    known = caches(tools.settings)
    try:
        cleaned = [
            clean(
                tools.sessions,
                cache,
                max_age=timedelta(hours=wanted.max_age_hours),
                expired_only=wanted.cleanup_expired_only,
                dry_run=wanted.dry_run,
                percent=100 * number / len(known),
            )
            for number, cache in enumerate(known)
        ]
    except StorageError as error:
        raise Transient(f"a cache cannot be listed: {error}") from None
    return {
        "dry_run": wanted.dry_run,
        "host": socket.gethostname(),
        "caches": [one.model_dump() for one in cleaned],
        "removed": sum(one.removed for one in cleaned),
        "bytes_removed": sum(one.bytes_removed for one in cleaned),
        "failed": sum(one.failed for one in cleaned),
    }


def save(session: Session, _lease: Lease, asked: Asked, result: CacheCleaned) -> None:
    if result.removed and not result.dry_run:
        audit.record(
            session, "maintenance", "cache.cleaned", f"task:{asked.task_id}",
            removed=result.removed, bytes=result.bytes_removed,
        )  # fmt: skip


TASK = TaskType(
    name="cleanup_cache",
    title="Clean up the caches",
    description="Removes bytes of published packages, unfinished downloads and scratch folders from"
    " the machine of the worker that does it, and such bytes from the bucket, where there is one."
    " No package loses bytes before it is published.",
    queue=MAINTENANCE,
    parameters=CleanupCache,
    result=CacheCleaned,
    run=run,
    save=save,
    subject="none",
    role=Role.ADMIN,
    isolation=Isolation.THREAD,
)
