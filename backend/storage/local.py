"""Blobs in a directory: a file appears under its name by one rename, after its bytes are safe."""

import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from backend.storage.blobs import (
    BlobMissing,
    Kept,
    StorageUnavailable,
    checked,
    is_key,
    written,
)
from backend.storage.durable import make_directory, sync_directory

_INCOMING = "incoming"


class LocalBlobs:
    """Files ``folder/ab/abcdef…`` below ``root``, mode 0400, in directories of mode 0700.

    ``root`` lies on one file system, which all processes that use it see; it is made when the first
    bytes are written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        target = self._path(key)
        incoming = target.parents[1] / _INCOMING
        with _disk_failures():
            make_directory(incoming)
            descriptor, name = tempfile.mkstemp(prefix="part-", dir=incoming)
        part = Path(name)
        try:
            size = _fill(descriptor, chunks)
            with _disk_failures():
                make_directory(target.parent)
                part.rename(target)
                sync_directory(target.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        return size

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with _disk_failures():
            try:
                return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
            except FileNotFoundError:
                raise BlobMissing(f"nothing is kept under {key}") from None

    def holds(self, key: str) -> bool:
        with suppress(BlobMissing), self.open(key):
            return True
        return False

    def copy(self, key: str, path: Path) -> None:
        with self.open(key) as source, _disk_failures():
            written(source, path)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _disk_failures(), suppress(FileNotFoundError):
            path.unlink()
            sync_directory(path.parent)

    def keys(self, folder: str) -> Iterator[Kept]:
        for path in sorted((self._root / folder).glob("[0-9a-f][0-9a-f]/*")):
            if not is_key(key := f"{folder}/{path.name}"):
                continue  # somebody else put it there
            with _disk_failures(), suppress(FileNotFoundError):  # somebody just deleted it
                state = path.lstat()
                yield Kept(key, datetime.fromtimestamp(state.st_mtime, UTC), state.st_size)

    def sweep(self, folder: str, older_than: timedelta) -> int:
        horizon = time.time() - older_than.total_seconds()
        removed = 0
        for path in (self._root / folder / _INCOMING).glob("part-*"):
            with _disk_failures(), suppress(FileNotFoundError):  # its writer just finished
                if path.stat().st_mtime < horizon:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        folder, _, name = checked(key).partition("/")
        return self._root / folder / name[:2] / name


def _fill(descriptor: int, chunks: Iterable[bytes]) -> int:
    """Write all and make it durable; the failures of ``chunks`` stay what they are."""
    size = 0
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for chunk in chunks:
            with _disk_failures():
                _write_all(file.fileno(), chunk)
            size += len(chunk)
        with _disk_failures():
            os.fchmod(file.fileno(), 0o400)
            os.fsync(file.fileno())
    return size


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _disk_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        state = "is full" if full else "cannot be used"
        reason = os.strerror(error.errno or errno.EIO)
        raise StorageUnavailable(f"the storage directory {state}: {reason}") from error
