"""Which rows of the Splunk workload a retention policy may delete: runs, with all they found."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.upkeep import Retained
from backend.workloads.splunk.clearing import clear

_OLD: Final = """
FROM ingestion_runs WHERE status IN ('complete', 'failed') AND completed_at < :before
"""
_COUNT: Final = text(f"SELECT count(*) {_OLD}")
_TAKE: Final = text(
    f"SELECT id {_OLD} AND id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"
)
_DELETE: Final = text("DELETE FROM ingestion_runs WHERE id = ANY (:runs)")


def _count(session: Session, before: datetime) -> int:
    return int(session.execute(_COUNT, {"before": before}).scalar_one())


def _delete(session: Session, before: datetime, after: int, limit: int) -> Sequence[int]:
    """The key of an archive goes with its run; its bytes are found by the sweep of orphans."""
    values = {"before": before, "after": after, "limit": limit}
    runs = session.scalars(_TAKE, values).all()
    for run in runs:
        clear(session, run)
    session.execute(_DELETE, {"runs": list(runs)})
    return runs


RETENTION = (
    Retained(
        name="ingestion_runs",
        meaning="Runs that are complete or failed, with their files, stanzas and archives; by when"
        " they ended.",
        count=_count,
        delete=_delete,
        rows=1,  # it may have a million stanzas
    ),
)
