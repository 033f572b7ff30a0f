"""Removes from caches what nobody needs, and measures it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from backend.db import Sessions
from backend.queue.reporting import report
from backend.storage.blobs import StorageError
from backend.upkeep import Cache, Entry

AT_ONCE: Final = 1_000
"""Entries that one statement asks about."""


class Cleaned(BaseModel):
    """What was found in one cache, and what of it was removed; sizes in bytes, as measured."""

    model_config = ConfigDict(frozen=True)

    cache: str
    entries: int = Field(
        0, ge=0, title="Entries", description="Files, folders or objects that were there."
    )
    bytes_before: int = Field(0, ge=0)
    removed: int = Field(0, ge=0, title="Removed", description="In a dry run: would be.")
    bytes_removed: int = Field(0, ge=0)
    failed: int = Field(0, ge=0, title="Failed", description="Could not be removed.")

    def plus(self, found: Sequence[Entry], gone: Sequence[Entry], failed: int) -> "Cleaned":
        """With another batch."""
        return Cleaned(
            cache=self.cache,
            entries=self.entries + len(found),
            bytes_before=self.bytes_before + sum(entry.size for entry in found),
            removed=self.removed + len(gone),
            bytes_removed=self.bytes_removed + sum(entry.size for entry in gone),
            failed=self.failed + failed,
        )


def clean(
    sessions: Sessions,
    cache: Cache,
    *,
    max_age: timedelta,
    expired_only: bool,
    dry_run: bool,
    percent: float = 0,
) -> Cleaned:
    """Remove what is not needed, batch by batch: each batch is asked about just before it goes.

    Args:
        max_age: what was written to since is not old.
        expired_only: only what is old.
        dry_run: only measure.
        percent: of the whole task, what is done before.

    Raises:
        LeaseLost: between two batches, once the task was cancelled.
        StorageError: the cache cannot be listed now.
    """
    done = Cleaned(cache=cache.name)
    for found in _batches(cache.contents.entries(datetime.now(UTC) - max_age)):
        report(percent, f"{cache.name}: {done.removed} of {done.entries} removed")
        with sessions.begin() as session:
            needless = cache.removable(session, found, expired_only)
        gone = needless if dry_run else [entry for entry in needless if _remove(cache, entry.name)]
        done = done.plus(found, gone, len(needless) - len(gone))
    return done


def _remove(cache: Cache, name: str) -> bool:
    """Whether it is gone."""
    try:
        cache.contents.remove(name)
    except (OSError, StorageError):
        return False
    return True


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, AT_ONCE)):
        yield batch
