"""Ends uploads that died, and deletes the bytes of archives that nobody needs any more.

Any number of workers may do it at the same time, and die in the middle of it: the word that bytes
are there goes first, and with it their key. What can be left over is bytes that nobody can read
and no run names, and those are found by :func:`sweep`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from backend.workloads.splunk.keys import folder_of, master_key
from backend.workloads.splunk.uploading import AT_MOST

log = structlog.get_logger(__name__)

AT_ONCE: Final = 100
"""Runs in one statement; the next turn takes more."""

ORPHANED: Final = timedelta(days=1)
"""Bytes without a run are younger than this only while somebody still brings them."""

_GIVE_UP: Final = Statement(f"""
UPDATE ingestion_runs SET status = 'failed', failure = 'timeout', failed_from = 'stored',
  error = 'The upload died: its bytes did not arrive within {AT_MOST.seconds // 60} minutes.',
  completed_at = now(), updated_at = now()
WHERE id = ANY (ARRAY(
  SELECT id FROM ingestion_runs
  WHERE status = 'pending' AND created_at < now() - %(at_most)s::interval
  ORDER BY id LIMIT {AT_ONCE} FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id
""")  # noqa: S608 - constants of this module

# A run that failed in its upload has no stored_at, and one that waits or is parsed keeps its bytes.
_NEEDLESS: Final = """
blob_key IS NOT NULL AND status IN ('complete', 'failed')
AND (stored_at IS NULL OR stored_at < now() - %(retention)s::interval)
"""
# One statement finds and forgets: nobody can ask for a parse in between. Without its key the bytes
# say nothing more, whether they are still there or not.
_FORGET: Final = Statement(f"""
WITH needless AS MATERIALIZED (
  SELECT id, blob_key FROM ingestion_runs WHERE {_NEEDLESS}
  ORDER BY id LIMIT {AT_ONCE} FOR NO KEY UPDATE SKIP LOCKED)
UPDATE ingestion_runs run SET blob_key = NULL, data_key = NULL,
  pruned_at = CASE WHEN run.stored_at IS NOT NULL THEN now() END, updated_at = now()
FROM needless WHERE run.id = needless.id
RETURNING needless.blob_key
""")  # noqa: S608 - constants of this module
_ORPHANS: Final = Statement("""
SELECT key FROM unnest(%(keys)s::text[]) AS key
WHERE NOT EXISTS (SELECT FROM ingestion_runs WHERE blob_key = key)
""")


@dataclass(frozen=True, slots=True)
class Tidied:
    """``died``: uploads that were given up; ``deleted``: archives whose bytes are gone now."""

    died: int
    deleted: int

    @property
    def more(self) -> bool:
        """Whether there may be more to do at once."""
        return AT_ONCE in (self.died, self.deleted)


def duties(settings: Settings) -> list[Duty]:
    """Both, by the clock; none for a worker without SPLUNK_KEY, whose store may be another one."""
    if settings.splunk_key is None:
        return []
    blobs, folder = blobs_of(settings), folder_of(master_key(settings))

    def tidy(_sessions: Sessions, statements: Autocommit) -> tuple[str, ...]:
        more = True
        while more:
            done = keep(statements, blobs, retention=settings.splunk_archive_retention)
            more = done.more
            if done.died or done.deleted:
                log.info("splunk.tidied", died=done.died, deleted=done.deleted)
        return ()

    def look_for_orphans(_sessions: Sessions, statements: Autocommit) -> tuple[str, ...]:
        if removed := sweep(statements, blobs, folder):
            log.info("splunk.swept", removed=removed)
        return ()

    return [
        Duty(name="splunk archives", every=timedelta(minutes=1), run=tidy),
        Duty(name="splunk orphans", every=timedelta(hours=1), run=look_for_orphans),
    ]


def keep(statements: Autocommit, blobs: Blobs, *, retention: timedelta) -> Tidied:
    """One turn, of a few statements.

    Args:
        statements: each is a transaction by itself.
        blobs: where the archives lie.
        retention: how long after its upload an archive is kept, once it is parsed or has failed.

    Raises:
        StorageUnavailable: some bytes could not be deleted: :func:`sweep` finds them.
        DBAPIError: the database failed.
    """
    died = statements.rows(_GIVE_UP, {"at_most": AT_MOST})
    needless = statements.rows(_FORGET, {"retention": retention})
    for run in needless:
        blobs.delete(run.blob_key)
    return Tidied(died=len(died), deleted=len(needless))


def sweep(statements: Autocommit, blobs: Blobs, folder: str) -> int:
    """Delete bytes that no run names; answers how many blobs and unfinished ones that were.

    Args:
        statements: each is a transaction by itself.
        blobs: where the archives lie.
        folder: this house's, see :func:`backend.workloads.splunk.keys.folder_of`.

    Raises:
        StorageUnavailable, DBAPIError: it stopped in the middle.
    """

    def orphans(keys: Sequence[str]) -> list[str]:
        return [row.key for row in statements.rows(_ORPHANS, {"keys": keys})]

    return sweep_orphans(blobs, folder, orphans, older_than=ORPHANED, unfinished=2 * AT_MOST)
