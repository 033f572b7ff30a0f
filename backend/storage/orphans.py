"""Deletes blobs that no row names.

Such are left where a row was deleted and the store did not answer, or a worker died, or a row came
back older from a backup. Any number of workers may do it at the same time, and die in the middle.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from backend.storage.blobs import Blobs

AT_ONCE: Final = 100
"""Keys in one question."""


def sweep_orphans(
    blobs: Blobs,
    folder: str,
    orphans: Callable[[Sequence[str]], Iterable[str]],
    *,
    older_than: timedelta,
    unfinished: timedelta,
) -> int:
    """Delete old blobs without a row, and what writers that died left; lists the whole folder.

    Args:
        blobs: where they lie.
        folder: one that nobody else puts blobs into.
        orphans: which of these keys no row names.
        older_than: a younger blob may be one whose row is still to be committed.
        unfinished: how old what a writer left must be.

    Returns:
        How many blobs and unfinished ones were deleted.

    Raises:
        StorageUnavailable: it stopped in the middle; so does what ``orphans`` raises.
    """
    horizon = datetime.now(UTC) - older_than
    old = (kept.key for kept in blobs.keys(folder) if kept.since < horizon)
    removed = 0
    for keys in _batches(old):
        for key in orphans(keys):
            blobs.delete(key)
            removed += 1
    return removed + blobs.sweep(folder, unfinished)


def _batches(keys: Iterator[str]) -> Iterator[Sequence[str]]:
    while batch := list(islice(keys, AT_ONCE)):
        yield batch
