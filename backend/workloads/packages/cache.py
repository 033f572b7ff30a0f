"""Package bytes kept by content hash: written once, whole or not at all, hashed by every reader.

They lie in a directory, and where machines share none, in a bucket that all of them reach as well.
"""

import errno
import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from backend.settings import Settings
from backend.storage.blobs import BlobMissing, Blobs, StorageError
from backend.storage.configured import blobs_of
from backend.storage.durable import make_directory, sync_directory

SHARED: Final = "packages"
"""The folder of package bytes in the store that machines share."""

LARGEST: Final[int] = Settings.model_fields["download_max_bytes"].default
"""Bytes of a package, unless the settings say otherwise."""

_SHA512 = re.compile(r"[0-9a-f]{128}")
_CHUNK = 1024 * 1024
_STALE = timedelta(days=1)


class ContentError(Exception):
    """The store could not give or keep the bytes; the message is one sentence."""


class ContentMissing(ContentError):
    """No bytes are kept under this hash."""


class ContentAltered(ContentError):
    """What was kept no longer has its hash. It was removed, so that it is fetched again."""


class ContentUnavailable(ContentError):
    """The disk is full, or it or the shared store cannot be used now: worth another attempt."""


def shared_key(sha512: str) -> str:
    """The name of a hash's bytes in the store that machines share."""
    return f"{SHARED}/{sha512}"


class ContentStore:
    """Files named by their SHA-512: ``sha512/ab/abcdef…``, mode 0444, in directories of mode 0700.

    Safe to share between threads and processes: a file appears under its name by one rename, after
    its bytes are on the disk, so a crash at any moment leaves the whole file or none.

    What a writer commits is in the shared store as well before anybody can have its hash from it;
    what a reader lacks comes from there, and is kept. So the directory may be lost at any moment.

    Args:
        root: a directory on one file system; made when the first bytes are written.
        shared: a store that all machines reach; None where they share the directory, or nothing.
        largest: bytes of what may come from there; anything larger was never put there by us.
    """

    def __init__(self, root: Path, shared: Blobs | None = None, *, largest: int = LARGEST) -> None:
        self.root = root
        self.shared = shared
        self._largest = largest
        self._incoming = root / "incoming"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one that the settings name; a bucket, where there is one, is shared."""
        shared = blobs_of(settings) if settings.storage_backend == "s3" else None
        return cls(settings.package_cache_dir, shared, largest=settings.download_max_bytes)

    @property
    def used(self) -> bool:
        """Whether anything was ever written here."""
        return self._incoming.is_dir()

    def path(self, sha512: str) -> Path:
        """Where the bytes of a hash (128 hex digits) belong, whether or not they are there."""
        if not _SHA512.fullmatch(sha512):
            raise ValueError("a SHA-512 is 128 lower-case hex digits")
        return self.root / "sha512" / sha512[:2] / sha512

    def writer(self) -> "ContentWriter":
        """Begin to write bytes whose hash is not known yet; use it as a context manager.

        Raises:
            ContentUnavailable: the store cannot be written to.
        """
        with _disk_failures():
            make_directory(self._incoming)
            descriptor, name = tempfile.mkstemp(prefix="part-", dir=self._incoming)
        return ContentWriter(self, descriptor, Path(name))

    def open_verified(self, sha512: str) -> io.BytesIO:
        """Read the bytes of a hash into memory and check them: what is returned is what was hashed.

        Raises:
            ContentMissing, ContentAltered, ContentUnavailable: as :meth:`chunks` does.
        """
        content = io.BytesIO()
        for chunk in self.chunks(sha512):
            content.write(chunk)
        content.seek(0)
        return content

    def chunks(self, sha512: str) -> Iterator[bytes]:
        """The bytes of a hash, in pieces; they are right once the last has come without an error.

        Raises:
            ContentMissing: they are kept neither here nor in the shared store.
            ContentAltered: they had changed; they are gone from where they were.
            ContentUnavailable: the disk or the shared store failed.
        """
        path = self.path(sha512)
        digest = hashlib.sha512()
        with _disk_failures(), self._open(sha512) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != sha512:
            with _disk_failures():
                path.unlink(missing_ok=True)
            raise _altered(sha512)

    def share(self, sha512: str) -> None:
        """See to it that other machines have the bytes of a hash, too.

        Raises:
            ContentMissing, ContentAltered, ContentUnavailable: as :meth:`chunks` does.
        """
        if self.shared is not None:
            key = shared_key(sha512)
            with _shared_failures():
                if not self.shared.holds(key):
                    self.shared.put(key, self.chunks(sha512))

    def kept(self) -> Iterator[Path]:
        """The files of all hashes that are kept."""
        for path in (self.root / "sha512").glob("[0-9a-f][0-9a-f]/*"):
            if _SHA512.fullmatch(path.name):  # somebody else put the others there
                yield path

    def unfinished(self) -> Iterator[Path]:
        """The files of writers that are at work, or were interrupted."""
        return self._incoming.glob("part-*")

    def _open(self, sha512: str) -> io.FileIO:
        path = self.path(sha512)
        try:
            return _open(path)
        except ContentMissing:
            if self.shared is None:
                raise
            self._fetch(self.shared, sha512)
        return _open(path)

    def _fetch(self, shared: Blobs, sha512: str) -> None:
        """Keep here what the shared store has."""
        key = shared_key(sha512)
        with self.writer() as writer, _shared_failures():
            with shared.open(key) as source:
                while writer.size <= self._largest and (chunk := source.read(_CHUNK)):
                    writer.write(chunk)
            if writer.size > self._largest or writer.sha512 != sha512:
                shared.delete(key)
                raise _altered(sha512)
            writer.keep()

    def sweep(self, older_than: timedelta = _STALE) -> int:
        """Remove what interrupted writers left behind; returns how many of them that were."""
        removed = 0
        horizon = time.time() - older_than.total_seconds()
        with _disk_failures():
            for path in self.unfinished():
                with suppress(FileNotFoundError):  # its writer just finished
                    if path.stat().st_mtime < horizon:
                        path.unlink()
                        removed += 1
        if self.shared is not None:
            with _shared_failures():
                removed += self.shared.sweep(SHARED, older_than)
        return removed


class ContentWriter:
    """One file on its way into the store. Leaving it without ``commit`` discards the bytes."""

    def __init__(self, store: ContentStore, descriptor: int, part: Path) -> None:
        self._store = store
        self._file = os.fdopen(descriptor, "wb")
        self._part = part
        self._digest = hashlib.sha512()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # Closing flushes, and fails again where the disk is full; the failure was told already.
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            ContentUnavailable: the disk is full or failed.
        """
        with _disk_failures():
            self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha512(self) -> str:
        """Of what was written so far, 128 hex digits."""
        return self._digest.hexdigest()

    def commit(self) -> str:
        """Keep the bytes under their hash, durably and for all machines, and return it.

        Raises:
            ContentUnavailable: the disk is full or failed, and nothing was kept; or the shared
                store failed, and they are kept here alone.
        """
        sha512 = self.keep()
        self._store.share(sha512)
        return sha512

    def keep(self) -> str:
        """As :meth:`commit`, but on this machine alone."""
        target = self._store.path(self.sha512)
        with _disk_failures():
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o444)
            os.fsync(self._file.fileno())
            self._file.close()
            make_directory(target.parent)
            # Replaces an existing file as well: these bytes are known to be right.
            self._part.rename(target)
            sync_directory(target.parent)
        return self.sha512


@contextmanager
def _disk_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        state = "is full" if full else "cannot be used"
        reason = os.strerror(error.errno or errno.EIO)
        raise ContentUnavailable(f"the package cache {state}: {reason}") from error


@contextmanager
def _shared_failures() -> Iterator[None]:
    try:
        yield
    except BlobMissing as error:
        raise ContentMissing(str(error)) from None
    except StorageError as error:
        raise ContentUnavailable(f"the shared package cache cannot be used: {error}") from error


def _open(path: Path) -> io.FileIO:
    try:
        return io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except FileNotFoundError:
        raise ContentMissing(f"no bytes are kept under sha512 {path.name[:16]}…") from None


def _altered(sha512: str) -> ContentAltered:
    return ContentAltered(f"the kept bytes of sha512 {sha512[:16]}… had been altered")
