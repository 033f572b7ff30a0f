"""The package's bytes for a child process, whose user may not read the cache itself."""

import hashlib
from pathlib import Path

from backend.queue.pipeline import Rewind
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.steps.inspect import TARBALL

CHUNK = 1024 * 1024


class Gone(Exception):
    """The bytes are missing here, or are not what they were: they must be fetched again."""


def prepare(package: PackageSnapshot, folder: Path) -> Rewind | None:
    """Copy the verified tarball into ``folder``; ``Rewind`` where it is not here any more."""
    try:
        verified_copy(package, folder)
    except Gone as gone:
        return Rewind(str(gone))
    return None


def verified_copy(package: PackageSnapshot, folder: Path) -> None:
    """A private copy in ``folder``, hashed as it is made: what was hashed is what will be read.

    Raises:
        Gone: no such bytes are kept, or what is kept has another hash.
    """
    if package.path is None or package.sha512 is None:
        raise Gone("the package's bytes are not known yet")
    digest = hashlib.sha512()
    try:
        with Path(package.path).open("rb") as source, (folder / TARBALL).open("wb") as copy:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    except FileNotFoundError:
        raise Gone("the package's bytes are not in this worker's cache") from None
    if digest.hexdigest() != package.sha512:
        raise Gone("the package's bytes in this worker's cache were altered")
