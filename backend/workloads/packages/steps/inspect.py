"""Inside a child process: open the verified tarball, and nothing else. Imports little."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from backend.queue.retry import Permanent
from backend.workloads.packages.scanning.inspection import InspectionError
from backend.workloads.packages.scanning.tarball import inspect, unpack

CHUNK = 1024 * 1024
GONE = 3
"""Exit code: the bytes are not here any more."""


class Gone(Exception):
    """The bytes are missing here, or are not what they were: they must be fetched again."""


UNPACK_SECONDS = 120


def inspect_tarball(package: dict[str, Any]) -> dict[str, Any]:
    """Read the tarball's manifest, licence files and bundled manifests.

    Args:
        package: a ``PackageSnapshot`` as JSON.

    Returns:
        An ``Inspection`` as JSON; ``{"gone": reason}`` where the bytes are not here any more.

    Raises:
        Permanent: the tarball is not the package that it should be, or not one at all.
    """
    try:
        copy = verified_copy(package["path"], package["sha512"])
    except Gone as gone:
        return {"gone": str(gone)}
    try:
        found = inspect(str(copy), name=package["name"], version=package["version"])
    except InspectionError as error:
        raise Permanent(str(error)) from None
    return {"found": found.to_dict()}


def verified_copy(path: str, sha512: str) -> Path:
    """A private copy below the working directory, hashed as it is read: what was hashed is read.

    Raises:
        Gone: no such bytes are kept, or what is kept has another hash.
    """
    digest, target = hashlib.sha512(), Path("package.tgz").absolute()
    try:
        with Path(path).open("rb") as source, target.open("wb") as copy:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    except FileNotFoundError:
        raise Gone("the package's bytes are not in this worker's cache") from None
    if digest.hexdigest() != sha512:
        raise Gone("the package's bytes in this worker's cache were altered")
    return target


def main() -> None:
    """``python -I -m … path sha512 target``: unpack for a scanner, in a process of its own."""
    from backend.queue.confinement import allow_processor_time, confine

    path, sha512, target = sys.argv[1:]
    confine(memory=512 * CHUNK)
    allow_processor_time(UNPACK_SECONDS)
    os.chdir(target)
    try:
        unpack(str(verified_copy(path, sha512)), Path("files").absolute())
    except Gone:
        sys.exit(GONE)
    except (InspectionError, OSError) as error:
        sys.exit(str(error)[:1000])


if __name__ == "__main__":
    main()
