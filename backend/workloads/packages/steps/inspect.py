"""Inside a child process: open the verified tarball, and nothing else. Imports little."""

import errno
import io
import json
import os
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.queue.retry import Permanent
from backend.workloads.packages.scanning.inspection import InspectionError
from backend.workloads.packages.scanning.tarball import inspect, unpack

TARBALL = "package.tgz"
"""In the working directory: a private copy, hashed as it was made."""
FILES = "files"
UNPACK_SECONDS = 120
UNPACK_MEMORY = 512 * 1024 * 1024  # bytes
REHEARSALS = 8
"""The interpreter adapts a function to what it is used for after so many calls."""
NO_SPACE = 3
"""Exit code: the disk is full, which is no fault of the tarball."""


def inspect_tarball(package: dict[str, Any]) -> dict[str, Any]:
    """Read the tarball's manifest, licence files and bundled manifests.

    Args:
        package: a ``PackageSnapshot`` as JSON.

    Returns:
        An ``Inspection`` as JSON.

    Raises:
        Permanent: the tarball is not the package that it should be, or not one at all.
    """
    try:
        found = inspect(TARBALL, name=package["name"], version=package["version"])
    except InspectionError as error:
        raise Permanent(str(error)) from None
    return {"found": found.to_dict()}


def rehearse() -> None:
    """Inspect a small package of our own, so that each fork finds all that takes ready.

    Without it a fork spends more time on that than on its tarball. Where there is no room for
    a file it is left out: it only saves time.
    """
    with suppress(OSError), tempfile.NamedTemporaryFile() as file:
        file.write(_sample())
        file.flush()
        for _ in range(REHEARSALS):
            json.dumps(inspect(file.name, name="sample", version="1.0.0").to_dict())


def _sample() -> bytes:
    """A package with one file of each kind that is looked into."""
    manifest = {
        "name": "sample", "version": "1.0.0", "license": "MIT", "bin": "run.js",
        "scripts": {"install": "true"}, "dependencies": {"other": "^1.0.0"},
    }  # fmt: skip
    files = {
        "package.json": json.dumps(manifest),
        "LICENSE": "Permission is hereby granted",
        "node_modules/other/package.json": json.dumps({"name": "other", "version": "1.0.0"}),
        "lib/run.js": "run()",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


def main() -> None:
    """``python -I -m … folder``: unpack the folder's tarball for a scanner, in a process alone."""
    from backend.queue.confinement import allow_processor_time, confine

    os.chdir(sys.argv[1])
    os.umask(0o022)  # the scanner reads as another user
    confine(memory=UNPACK_MEMORY, given=[Path(), Path(TARBALL)])
    allow_processor_time(UNPACK_SECONDS)
    try:
        unpack(TARBALL, Path(FILES))
    except (InspectionError, OSError) as error:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
            sys.exit(NO_SPACE)
        sys.exit(str(error)[:1000])


if __name__ == "__main__":
    main()
