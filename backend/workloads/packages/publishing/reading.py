"""The manifest inside a tarball, read by a confined child: nothing here opens a stranger's bytes.

``python -I -m … FOLDER NAME VERSION`` is that child.
"""

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backend.problems import Malformed
from backend.queue.retry import Permanent, Transient
from backend.strictjson import loads
from backend.workloads.packages.scanning import bounded_process
from backend.workloads.packages.scanning.inspection import MEBIBYTE, InspectionError
from backend.workloads.packages.scanning.tarball import read_manifest

CHILD: Final = "backend.workloads.packages.publishing.reading"
TARBALL: Final = "package.tgz"
SECONDS: Final = 120
MEMORY: Final = 512 * MEBIBYTE
ANSWER: Final = 64 * MEBIBYTE  # a manifest of 10 MiB, each character escaped


@dataclass(frozen=True, slots=True)
class RootManifest:
    """package.json as it is, and what npm would run on install, an implicit build included."""

    document: dict[str, Any]
    install_scripts: dict[str, str]


def manifest_of(content: bytes, name: str, version: str) -> RootManifest:
    """Let a child read the manifest of a tarball that is in memory.

    Raises:
        Permanent: it is not that package, or its manifest cannot be told to a registry.
        Transient: the child was stopped before its end.
    """
    with tempfile.TemporaryDirectory(prefix="lockkeeper-publish-") as scratch:
        # The folder above stays ours: the child may have a user of its own.
        given = Path(scratch) / "given"
        given.mkdir(mode=0o755)
        (given / TARBALL).write_bytes(content)
        try:
            done = bounded_process.run(
                [sys.executable, "-I", "-m", CHILD, str(given), name, version],
                environment={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": scratch},
                directory=Path(scratch),
                timeout=SECONDS,
                output_bytes=ANSWER,
            )
        except bounded_process.TooSlowError:
            raise Transient("the package's manifest could not be read in time") from None
        except bounded_process.ProcessLimitError as error:
            raise Permanent(f"the package's manifest cannot be read: {error}") from None
    if done.exit_code != 0:
        raise Permanent(f"the package's manifest cannot be read: {done.errors.strip()[-300:]}")
    return _understood(done.output)


def _understood(answer: bytes) -> RootManifest:
    """Whoever talked the child into something may have written its answer."""
    try:
        said = loads(answer)
        return RootManifest(dict(said["manifest"]), dict(said["install_scripts"]))
    except (Malformed, TypeError, ValueError, KeyError):
        raise Permanent("the package's manifest cannot be told to a registry") from None


def main() -> None:
    """Read one manifest, in a process alone, and write it as JSON."""
    from backend.queue.confinement import allow_processor_time, confine

    folder, name, version = sys.argv[1:]
    os.chdir(folder)
    confine(memory=MEMORY, given=[Path(), Path(TARBALL)])
    allow_processor_time(SECONDS)
    try:
        document, found = read_manifest(TARBALL, name=name, version=version)
        answer = {"manifest": document, "install_scripts": found.install_scripts}
        sys.stdout.write(json.dumps(answer, allow_nan=False))
    except (InspectionError, OSError, ValueError, RecursionError) as error:
        sys.exit(str(error)[:1000])


if __name__ == "__main__":
    main()
