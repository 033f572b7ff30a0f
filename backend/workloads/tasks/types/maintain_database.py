"""ANALYZE, VACUUM and REINDEX of our own tables, and how much room they waste."""

import time
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Role
from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation
from backend.workloads.tasks.lifecycle import MAINTENANCE
from backend.workloads.tasks.maintenance import bloat, relations
from backend.workloads.tasks.maintenance.bloat import Bloat
from backend.workloads.tasks.maintenance.connections import direct
from backend.workloads.tasks.maintenance.relations import Sizes, Table
from backend.workloads.tasks.maintenance.reorganising import Reorganiser
from backend.workloads.tasks.registry import SOFT_LIMIT, Asked, Parameters, TaskType
from backend.workloads.tasks.tools import Tools

Level = Literal["light", "standard", "heavy"]


class MaintainDatabase(Parameters):
    """How much is done."""

    level: Level = Field(
        "light",
        title="Level",
        description="light: ANALYZE; standard: VACUUM and REINDEX CONCURRENTLY as well; heavy: a"
        " report on bloat as well.",
    )
    dry_run: bool = Field(False, title="Dry run", description="Only say what would be done.")


class Measured(BaseModel):
    """One table, in bytes; ``bytes_*`` are without its indexes."""

    table: str
    bytes_before: int
    bytes_after: int
    index_bytes_before: int
    index_bytes_after: int


class Skipped(BaseModel):
    """What was not done."""

    statement: str
    reason: str


class DatabaseMaintained(BaseModel):
    """What was done, and what the server measured before and after."""

    level: Level
    dry_run: bool
    server_version: int = Field(title="Server", description="As it counts: 180000 is 18.0.")
    done: dict[str, int] = Field(title="Done", description="How often, by command.")
    leftovers_dropped: list[str] = Field(
        title="Leftovers", description="Invalid indexes that an interrupted REINDEX had left."
    )
    skipped: list[Skipped]
    tables: list[Measured]
    bytes_before: int = Field(ge=0, title="Before", description="Of these, with indexes.")
    bytes_after: int = Field(ge=0)
    bloat: list[Bloat] | None = Field(None, title="Bloat", description="Of level heavy.")


def run(asked: Asked, tools: Tools) -> dict[str, Any]:
    wanted = MaintainDatabase.model_validate(asked.parameters)
    until = time.monotonic() + SOFT_LIMIT.total_seconds()
    with direct(tools.settings) as connection:
        tables = relations.tables(connection)
        work = Reorganiser(connection, until, dry_run=wanted.dry_run)
        before = work.measured(tables)
        if wanted.level == "light":
            work.analyze(tables)
        else:
            work.vacuum(tables)
            work.reindex(tables)
        after = work.measured(tables)
        wasted = bloat.report_of(connection) if wanted.level == "heavy" else None
        version = relations.server_version(connection)
    measured = [
        _measured(table, before[table.oid], after[table.oid])
        for table in tables
        if table.oid in before and table.oid in after
    ]
    return {
        "level": wanted.level,
        "dry_run": wanted.dry_run,
        "server_version": version,
        "done": work.done,
        "leftovers_dropped": work.dropped,
        "skipped": [
            {"statement": statement, "reason": why} for statement, why in work.skipped.items()
        ],
        "tables": [one.model_dump() for one in measured],
        "bytes_before": sum(one.bytes_before + one.index_bytes_before for one in measured),
        "bytes_after": sum(one.bytes_after + one.index_bytes_after for one in measured),
        "bloat": wasted,
    }


def _measured(table: Table, before: Sizes, after: Sizes) -> Measured:
    return Measured(
        table=table.name,
        bytes_before=before.own,
        bytes_after=after.own,
        index_bytes_before=before.indexes,
        index_bytes_after=after.indexes,
    )


def save(session: Session, _lease: Lease, asked: Asked, result: DatabaseMaintained) -> None:
    if not result.dry_run:
        audit.record(
            session, "maintenance", "database.maintained", f"task:{asked.task_id}",
            level=result.level, done=result.done, skipped=len(result.skipped),
        )  # fmt: skip


TASK = TaskType(
    name="maintain_database",
    title="Maintain the database",
    description="Keeps the planner's statistics, the tables and the indexes in order, beside"
    " running work, and measures bytes before and after.",
    queue=MAINTENANCE,
    parameters=MaintainDatabase,
    result=DatabaseMaintained,
    run=run,
    save=save,
    subject="none",
    role=Role.ADMIN,
    isolation=Isolation.THREAD,
)
