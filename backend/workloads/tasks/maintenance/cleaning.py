"""Removes files of caches that nobody needs, and measures them."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from backend.db import Sessions
from backend.queue.reporting import report
from backend.upkeep import Cache, Entry

AT_ONCE: Final = 1_000
"""Entries that one statement asks about."""


class Cleaned(BaseModel):
    """What was found in one cache, and what of it was removed; sizes in bytes, as measured."""

    model_config = ConfigDict(frozen=True)

    cache: str
    entries: int = Field(0, ge=0, title="Entries", description="Files or folders that were there.")
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
    """
    done = Cleaned(cache=cache.name)
    for found in _batches(_measured(cache.paths(), time.time() - max_age.total_seconds())):
        report(percent, f"{cache.name}: {done.removed} of {done.entries} removed")
        with sessions.begin() as session:
            needless = cache.removable(session, found, expired_only)
        gone = needless if dry_run else [entry for entry in needless if _remove(entry.path)]
        done = done.plus(found, gone, len(needless) - len(gone))
    return done


def _measured(paths: Iterable[Path], horizon: float) -> Iterator[Entry]:
    for path in paths:
        with suppress(OSError):  # somebody just removed it, or does not let us look
            yield Entry(path, size_of(path), path.lstat().st_mtime < horizon)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder that may be seen; no link is followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for inner in path.rglob("*"):
        with suppress(OSError):
            total += 0 if inner.is_dir() else inner.lstat().st_size
    return total


def _remove(path: Path) -> bool:
    """Whether it is gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, AT_ONCE)):
        yield batch
