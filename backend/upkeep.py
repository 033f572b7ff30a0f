"""What workloads let maintenance remove: rows that are old enough, bytes that nobody needs.

A workload offers both in its ``upkeep.py``, see :mod:`backend.workloads`.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from backend.storage.blobs import Blobs

ROWS: Final = 1_000
"""Deleted by one transaction: a fraction of a second."""


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Rows of one kind, which a retention policy may delete by their age.

    Args:
        name: as policies write it.
        meaning: in a sentence, which rows these are and what their age counts from.
        count: ``count(session, before)`` answers how many are older.
        delete: ``delete(session, before, after, limit)`` deletes at most so many of those whose id
            is above ``after``, in the order of their ids, and answers these. It waits for no lock:
            what somebody has locked is left.
        rows: the limit of one transaction.
    """

    name: str
    meaning: str
    count: Callable[[Session, datetime], int]
    delete: Callable[[Session, datetime, int, int], Sequence[int]]
    rows: int = ROWS


def by_age(name: str, meaning: str, *, table: str, age: str, where: str = "true") -> Retained:
    """Rows of one ``table``, known by its ``id``, whose column ``age`` is older.

    All batches together go through the table once, by its primary key: no index is needed.

    Args:
        name: as policies write it.
        meaning: in a sentence.
        table: what hangs beneath its rows goes with them.
        age: a column.
        where: in SQL, which of its rows may be deleted at all.
    """
    old = f"FROM {table} WHERE {age} < :before AND ({where})"
    taken = f"SELECT id {old} AND id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"
    deletion = text(f"DELETE FROM {table} WHERE id = ANY (ARRAY({taken})) RETURNING id")  # noqa: S608 - the same
    counting = text(f"SELECT count(*) {old}")
    return Retained(
        name=name,
        meaning=meaning,
        count=partial(_count, counting),
        delete=partial(_delete, deletion),
    )


def _count(counting: TextClause, session: Session, before: datetime) -> int:
    return int(session.execute(counting, {"before": before}).scalar_one())


def _delete(
    deletion: TextClause, session: Session, before: datetime, after: int, limit: int
) -> Sequence[int]:
    values = {"before": before, "after": after, "limit": limit}
    return session.scalars(deletion, values).all()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a cache, a folder with all in it, or a blob: ``name`` is its path, or its key.

    ``size`` is in bytes. ``old``: nothing was written to it since the age that was asked for.
    """

    name: str
    size: int
    old: bool


def only_old(_session: Session, entries: Sequence[Entry], _expired_only: bool) -> list[Entry]:
    """Of what somebody may still be writing."""
    return [entry for entry in entries if entry.old]


class Contents(Protocol):
    """What is in a cache."""

    def entries(self, since: datetime) -> Iterator[Entry]:
        """All of it; what was written before ``since`` is old.

        Raises:
            StorageError: it cannot be listed now.
        """

    def remove(self, name: str) -> None:
        """Remove one entry, if it is still there.

        Raises:
            OSError, StorageError: it cannot be removed.
        """


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Bytes that can be had again, or that nobody asks for any more.

    Args:
        name: for people.
        meaning: in a sentence, what is in it and what of it may go.
        contents: of this machine, or of a store that machines share.
        removable: ``removable(session, entries, expired_only)`` answers which of these nobody
            needs; those that are not old only where ``expired_only`` is False.
    """

    name: str
    meaning: str
    contents: Contents
    removable: Callable[[Session, Sequence[Entry], bool], Sequence[Entry]] = only_old


@dataclass(frozen=True, slots=True)
class Files:
    """Files and folders of this machine."""

    paths: Callable[[], Iterable[Path]]

    def entries(self, since: datetime) -> Iterator[Entry]:
        for path in self.paths():
            with suppress(OSError):  # somebody just removed it, or does not let us look
                yield Entry(str(path), size_of(path), path.lstat().st_mtime < since.timestamp())

    def remove(self, name: str) -> None:
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder that may be seen; no link is followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for inner in path.rglob("*"):
        with suppress(OSError):
            total += 0 if inner.is_dir() else inner.lstat().st_size
    return total


@dataclass(frozen=True, slots=True)
class SharedBlobs:
    """One folder of a store that machines share."""

    blobs: Blobs
    folder: str

    def entries(self, since: datetime) -> Iterator[Entry]:
        for kept in self.blobs.keys(self.folder):
            yield Entry(kept.key, kept.size, kept.since < since)

    def remove(self, name: str) -> None:
        self.blobs.delete(name)
