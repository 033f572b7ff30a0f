"""The package's bytes for a child process, whose user may not read the cache itself."""

from pathlib import Path

from backend.queue.pipeline import Rewind
from backend.workloads.packages.cache import ContentAltered, ContentMissing
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.steps.inspect import TARBALL
from backend.workloads.packages.tools import VettingTools, cache_errors


class Gone(Exception):
    """The bytes are missing here, or are not what they were: they must be fetched again."""


def prepare(tools: VettingTools, package: PackageSnapshot, folder: Path) -> Rewind | None:
    """Copy the verified tarball into ``folder``; ``Rewind`` where it is not here any more."""
    try:
        verified_copy(package, tools, folder)
    except Gone as gone:
        return Rewind(str(gone))
    return None


def verified_copy(package: PackageSnapshot, tools: VettingTools, folder: Path) -> None:
    """A private copy in ``folder``, hashed as it is made: what was hashed is what will be read.

    Raises:
        Gone: no such bytes are kept, or what is kept has another hash.
        Transient: the cache cannot be used now.
        CircuitOpen: the same, and it is left alone for now.
    """
    if package.sha512 is None:
        raise Gone("the package's bytes are not known yet")
    with cache_errors(tools.breakers):
        try:
            with (folder / TARBALL).open("wb") as copy:
                for chunk in tools.cache.chunks(package.sha512):
                    copy.write(chunk)
        except ContentMissing:
            raise Gone("the package's bytes are not in this worker's cache") from None
        except ContentAltered:
            raise Gone("the package's bytes in this worker's cache were altered") from None
