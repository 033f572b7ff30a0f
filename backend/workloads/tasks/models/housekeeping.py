"""Deletes artefacts that no model names: of attempts that came to nothing, of users that went."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions
from backend.queue.duty import Duty
from backend.settings import Settings
from backend.storage.blobs import Blobs
from backend.storage.configured import blobs_of
from backend.storage.orphans import sweep_orphans
from backend.workloads.tasks.models.keys import folder_of, master_key

log = structlog.get_logger(__name__)

ORPHANED: Final = timedelta(days=1)
"""An artefact is in the store before its model is committed, but not for long."""

_ORPHANS: Final = Statement("""
SELECT key FROM unnest(%(keys)s::text[]) AS key
WHERE NOT EXISTS (SELECT FROM models WHERE blob_key = key)
""")


def duties(settings: Settings) -> list[Duty]:
    """None for a worker without TASK_KEY, whose store may be another one."""
    if settings.task_key is None:
        return []
    blobs, folder = blobs_of(settings), folder_of(master_key(settings))

    def look_for_orphans(_sessions: Sessions, statements: Autocommit) -> tuple[str, ...]:
        if removed := sweep(statements, blobs, folder):
            log.info("models.swept", removed=removed)
        return ()

    return [Duty(name="model orphans", every=timedelta(hours=1), run=look_for_orphans)]


def sweep(statements: Autocommit, blobs: Blobs, folder: str) -> int:
    """Delete artefacts that are a day old and no model's; answers how many.

    Args:
        statements: each is a transaction by itself.
        blobs: where artefacts lie.
        folder: this house's, see :func:`backend.workloads.tasks.models.keys.folder_of`.

    Raises:
        StorageUnavailable, DBAPIError: it stopped in the middle.
    """

    def orphans(keys: Sequence[str]) -> list[str]:
        return [row.key for row in statements.rows(_ORPHANS, {"keys": keys})]

    return sweep_orphans(blobs, folder, orphans, older_than=ORPHANED, unfinished=ORPHANED)
