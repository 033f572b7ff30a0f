"""What every store of blobs does, whatever lies beneath it."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, Protocol

_KEY: Final = re.compile(r"[a-z0-9-]{1,64}/(?:[0-9a-f]{32}|[0-9a-f]{128})")


class StorageError(Exception):
    """A store could not give or keep a blob; the message is one sentence."""


class BlobMissing(StorageError):
    """Nothing is kept under this key."""


class StorageUnavailable(StorageError):
    """The disk is full or failed, or the server does not answer: worth another attempt."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One blob: its key, when its bytes were put there, and how many they are."""

    key: str
    since: datetime
    size: int


class Blobs(Protocol):
    """Blobs by their keys: a folder, a slash, 32 lower-case hex digits, or 128 that are a SHA-512.

    A blob is written once; one that is named by its hash maybe again, with the same bytes.

    Safe to share between threads and processes. Every method raises :class:`StorageUnavailable`,
    and ``ValueError`` for what is no key.
    """

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Keep all of ``chunks``, durably; answers how many bytes that were.

        Until it returns there is nothing under ``key``, also where ``chunks`` raises or the process
        dies.
        """

    def open(self, key: str) -> BinaryIO:
        """The blob, to be read from its beginning to its end and closed.

        Raises:
            BlobMissing: there is none.
        """

    def holds(self, key: str) -> bool:
        """Whether there is such a blob."""

    def copy(self, key: str, path: Path) -> None:
        """Write the blob to a file that does not exist yet, readable for its owner alone.

        Raises:
            BlobMissing: there is none.
        """

    def delete(self, key: str) -> None:
        """Remove the blob, if there is one."""

    def keys(self, folder: str) -> Iterator[Kept]:
        """Every blob of one folder, in the order of their keys; what has no key is left out."""

    def sweep(self, folder: str, older_than: timedelta) -> int:
        """Remove what writers that died left in a folder; answers how many that were."""


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def checked(key: str) -> str:
    """The key itself.

    Raises:
        ValueError: it is none.
    """
    if not is_key(key):
        raise ValueError("a blob's key is a folder, a slash and 32 or 128 lower-case hex digits")
    return key


def written(source: BinaryIO, path: Path) -> None:
    """Copy ``source`` to a new file that is readable for its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
