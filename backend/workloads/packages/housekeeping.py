"""Keeps a machine's package cache small where machines share a store of all that is in it."""

import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.queue.duty import Duty
from backend.settings import Settings
from backend.workloads.packages.cache import ContentAltered, ContentMissing, ContentStore

OLD: Final = timedelta(days=1)

log = structlog.get_logger(__name__)


def duties(settings: Settings) -> list[Duty]:
    """By the clock; none without a shared store: then nobody else has what the cache has."""
    store = ContentStore.of(settings)

    def tidy(_sessions: Sessions, _statements: Autocommit) -> tuple[str, ...]:
        if store.used:  # else this worker has no packages, and maybe no way to the bucket
            if left := store.sweep(OLD):
                log.info("package_cache.swept", removed=left)
            if evicted := evict(store, OLD):
                log.info("package_cache.evicted", removed=evicted)
        return ()

    if store.shared is None:
        return []
    return [Duty(name="package cache", every=timedelta(hours=1), run=tidy)]


def evict(store: ContentStore, older_than: timedelta) -> int:
    """Remove files that are old, each once the shared store has it, too; answers how many.

    Raises:
        ContentUnavailable, OSError: it stopped in the middle.
    """
    horizon = time.time() - older_than.total_seconds()
    removed = 0
    for path in store.kept():
        # Somebody else just removed it, or it is no longer what it was and is gone now.
        with suppress(FileNotFoundError, ContentMissing, ContentAltered):
            if path.lstat().st_mtime < horizon:
                store.share(path.name)
                path.unlink()
                removed += 1
    return removed
